"""The data of a task: rows as they are read, and the same as token ids, which every trial maps into its memory.

Shapes: N rows; a row may have several labels (one for each of its words, say) or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainables.tasks.metrics import Metric
from trainables.text.ragged import Ragged


@dataclass(frozen=True)
class Rows:
    """One part of a task, read and checked.

    inputs: by role ("text", "text2", ...) the text of each row, or whatever else can be compared, such as a tuple of
    words. labels: for each row its class ids (int64) or targets (floats).
    """

    inputs: Mapping[str, Sequence[Any]]
    labels: Ragged

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Rows":
        """The rows at these indices, in their order."""
        inputs = {role: [values[i] for i in indices] for role, values in self.inputs.items()}
        return Rows(inputs, self.labels.take(indices))

    def examples(self) -> list[tuple[Any, ...]]:
        """What makes two rows the same example: all their inputs."""
        return list(zip(*self.inputs.values(), strict=True))


@dataclass(frozen=True)
class Split:
    """One prepared part: token ids by view (what an encoder may read of a row), and the labels of each row.

    Other numbers that belong to a row are views as well: `words` holds the positions of scored words in `text`.
    """

    views: Mapping[str, Ragged]
    labels: Ragged

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_tokens(self) -> int:
        """Of the texts of all rows, each read by itself."""
        return sum(view.values.size for name, view in self.views.items() if name in ("text", "text2"))

    def take(self, rows: np.ndarray) -> "Split":
        """These rows, in memory."""
        return Split({name: view.take(rows) for name, view in self.views.items()}, self.labels.take(rows))


@dataclass(frozen=True)
class TaskData:
    """A prepared task, its arrays memory-mapped and read-only.

    splits: `dev`, mostly `train` and `test`, and other parts that a kind has (documents to search in, say).
    index_NE: embeddings of the documents by the teacher, where a study has them so (index.py).
    meta: the settings it was prepared by, `sizes` of the splits, `dev_from_train`, `dropped_from_train`, and
        `labels_dropped` by split.
    """

    name: str
    kind: str
    metric: Metric
    label_names: tuple[str, ...]
    pad_id: int
    splits: Mapping[str, Split]
    index_NE: np.ndarray | None = field(default=None, kw_only=True)
    meta: Mapping[str, Any]

    def longest(self) -> int:
        """Tokens of the longest sequence of any split and view."""
        return max(int(view.lengths().max()) for split in self.splits.values() for view in split.views.values())
