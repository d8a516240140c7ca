"""The plain rows that every source of a labelled task ends as."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainables.tasks.spec import TaskSpec

REGRESSION_STRATA = 10


@dataclass(frozen=True)
class Rows:
    """One checked split: texts, the second texts of pairs (else None), and class ids (int64) or targets (float32)."""

    texts: list[str]
    texts2: list[str] | None
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Rows":
        """The rows at these indices, in their order."""
        texts2 = None if self.texts2 is None else [self.texts2[i] for i in indices]
        return Rows([self.texts[i] for i in indices], texts2, self.labels[np.asarray(indices, dtype=np.int64)])

    def examples(self) -> list[tuple[str, ...]]:
        """What makes two rows the same example: the exact text, or both texts."""
        return list(zip(self.texts, self.texts2 or [""] * len(self.texts), strict=True))

    def strata(self) -> np.ndarray:
        """Group of each row: its class, or the tenth its target falls into."""
        return strata_of(self.labels)


def strata_of(labels: np.ndarray) -> np.ndarray:
    """Group of each example: its class, or the tenth its target falls into."""
    if np.issubdtype(labels.dtype, np.integer):
        return np.asarray(labels)
    ranks = np.argsort(np.argsort(labels, kind="stable"), kind="stable")
    return ranks * REGRESSION_STRATA // max(1, len(labels))


def place(spec: TaskSpec, split: str) -> str:
    """How a split is named in an error."""
    return f"task {spec.name!r}, {split} of {spec.source!r}"
