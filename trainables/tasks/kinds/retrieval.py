"""Which documents answer a query, by exact search among the embeddings of all documents. Nothing is fitted."""

from trainables.tasks.kind import Protocol, TaskKind
from trainables.tasks.protocols.zero_shot import search
from trainables.tasks.ranking import OF_SEARCHES
from trainables.tasks.reading.beir import read_beir
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.tables import Column
from trainables.tasks.sampling import as_one

KIND = TaskKind(
    doc="which documents answer a query, by exact search; a folder as BEIR writes it",
    columns={"text": Column("text"), "title": Column("title", required=False)},
    read=read_beir,
    encode=encode_texts,
    strata=as_one,
    protocols={"zero_shot": Protocol(search, OF_SEARCHES)},
    fits=False,
    has_documents=True,
    hub_task="information-retrieval",
)
