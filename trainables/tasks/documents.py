"""The documents that queries are answered from: which of them are kept where a task may have only so many."""

from collections.abc import Mapping

import numpy as np

from spaces.errors import SpecError
from trainables.tasks.data import Rows
from trainables.text.ragged import Ragged

DOCUMENTS = "documents"
"""The part of a task that holds them; labels of the other parts say which of them belong to a row."""


def with_fewer_documents(
    task: str, rows: Mapping[str, Rows], max_docs: int, rng: np.random.Generator
) -> dict[str, Rows]:
    """At most so many documents, in their order: those that labels name, and others drawn at random.

    Raises SpecError where the labels alone name more.
    """
    rows, documents = dict(rows), rows[DOCUMENTS]
    if len(documents) <= max_docs:
        return rows
    queries = [split for split in rows if split != DOCUMENTS]
    named = np.unique(np.concatenate([rows[split].labels.values["document"] for split in queries]))
    if len(named) > max_docs:
        problem = f"task {task!r}: max_docs = {max_docs} would cut the {len(named):,} documents that answer queries"
        raise SpecError([f"{problem}. Set it to {len(named)} or more, or max_dev and max_test to fewer queries"])
    others = np.setdiff1d(np.arange(len(documents)), named)
    kept = np.sort(np.concatenate([named, rng.permutation(others)[: max_docs - len(named)]]))
    for split in queries:
        values = rows[split].labels.values.copy()
        values["document"] = np.searchsorted(kept, values["document"])
        rows[split] = Rows(rows[split].inputs, Ragged(values, rows[split].labels.offsets))
    rows[DOCUMENTS] = documents.take(kept)
    return rows
