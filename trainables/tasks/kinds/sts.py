"""How alike two texts are (semantic textual similarity), by the cosine of their embeddings, or by the score of a
cross-encoder. Nothing is fitted."""

from functools import partial

from trainables.tasks.kind import Protocol, TaskKind
from trainables.tasks.metrics import METRICS
from trainables.tasks.protocols.zero_shot import cosines
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.rows import read_rows, targets
from trainables.tasks.reading.tables import Column
from trainables.tasks.sampling import by_tenth

KIND = TaskKind(
    doc="how alike two texts are, by the cosine of their embeddings, or by the score of a cross-encoder",
    columns={"text": Column("text"), "text2": Column("text2"), "label": Column("label")},
    read=partial(read_rows, read_labels=targets, needed=()),
    encode=encode_texts,
    strata=by_tenth,
    protocols={"zero_shot": Protocol(cosines, (METRICS["spearman"],))},
    fits=False,
    of_pairs=True,
    hub_task="sentence-similarity",
)
