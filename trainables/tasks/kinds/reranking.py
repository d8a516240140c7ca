"""Which of the candidates of a query answer it, by cosine, or by the score of a cross-encoder. Nothing is fitted.

A row is a query with a list of texts that answer it and a list of others, as mteb and sentence-transformers have it.
"""

from typing import Any

from spaces.errors import SpecError
from trainables.tasks.data import Rows
from trainables.tasks.documents import DOCUMENTS
from trainables.tasks.kind import Protocol, TaskKind
from trainables.tasks.protocols.zero_shot import candidates
from trainables.tasks.ranking import JUDGED, OF_CANDIDATES
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.rows import check_texts, columns_by_role
from trainables.tasks.reading.sources import read_tables
from trainables.tasks.reading.tables import Column, TaskSource
from trainables.tasks.sampling import as_one
from trainables.text.ragged import ragged


def read(source: TaskSource) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """(queries by split with all their candidates, each once among `documents`; no class names).

    Rows that lack an answer or another text rank nothing; they are left out and said. Raises SpecError with every
    problem found.
    """
    problems: list[str] = []
    columns = columns_by_role(source, read_tables(source, ()), problems)
    for split, by_role in columns.items():
        check_texts(source, split, "text", by_role["text"], problems)
        for role in ("positive", "negative"):
            by_role[role] = [[each] if isinstance(each, str) else each for each in by_role[role]]
            check_lists(source, split, role, by_role[role], problems)
    if problems:
        raise SpecError(problems)
    number: dict[str, int] = {}
    rows = {}
    for split, by_role in columns.items():
        queries, labels = [], []
        for query, positive, negative in zip(
            *(by_role[role] for role in ("text", "positive", "negative")), strict=True
        ):
            if positive and negative:
                queries.append(query)
                labels.append(
                    [(number.setdefault(text, len(number)), 1.0) for text in positive]
                    + [(number.setdefault(text, len(number)), 0.0) for text in negative]
                )
        if lost := len(by_role["text"]) - len(queries):
            source.say(f"task {source.task}: {lost:,} rows of {split} are not used, they lack a positive or a negative")
        if not queries:
            problems.append(f"{source.place(split)}: every row lacks a positive or a negative")
        rows[split] = Rows({"text": queries}, ragged(labels, JUDGED))
    if problems:
        raise SpecError(problems)
    return {DOCUMENTS: Rows({"text": list(number)}, ragged([[]] * len(number), JUDGED)), **rows}, ()


def check_lists(source: TaskSource, split: str, role: str, values: list[Any], problems: list[str]) -> None:
    """Every value must be a list of texts; the first that is not becomes a problem."""
    for row, texts in enumerate(values):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            problems.append(f"{source.place(split, role, row)} is {texts!r}, not a list of texts")
            return


KIND = TaskKind(
    doc="which of the candidates of a query answer it, by cosine, or by the score of a cross-encoder",
    columns={"text": Column("query"), "positive": Column("positive"), "negative": Column("negative")},
    read=read,
    encode=encode_texts,
    strata=as_one,
    protocols={"zero_shot": Protocol(candidates, OF_CANDIDATES)},
    fits=False,
    of_pairs=True,
    has_documents=True,
    hub_task="reranking",
)
