"""What a labelled task is: its spec, checked before anything is read, and the plain rows that every source ends as."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spaces.errors import nearest
from trainables.tasks.metrics import KIND_METRICS

REGRESSION_STRATA = 10


@dataclass(frozen=True)
class TaskSpec:
    """One labelled task of a study: where its rows are and how they are read, cut and scored.

    text_column: "text" unless it is given, or "tokens" for token classification, whose rows are lists of words.
    """

    name: str
    source: str
    kind: str = "classification"
    max_train: int | None = None
    max_dev: int | None = None
    max_test: int | None = None
    text_column: str = ""
    text2_column: str = "text2"
    label_column: str = "label"
    max_length: int = 128
    metric: str = ""

    def __post_init__(self) -> None:
        if not self.text_column:
            object.__setattr__(self, "text_column", "tokens" if self.kind == "token_classification" else "text")

    def problems(self) -> list[str]:
        """What is wrong with the spec itself, before anything is read."""
        found = []
        if self.kind not in KIND_METRICS:
            hint = nearest(self.kind, KIND_METRICS)
            found.append(f"task {self.name!r}: unknown kind {self.kind!r}.{hint} Known: {', '.join(KIND_METRICS)}")
        known = list(dict.fromkeys(name for names in KIND_METRICS.values() for name in names))
        if self.metric and self.metric not in known:
            hint = nearest(self.metric, known)
            found.append(f"task {self.name!r}: unknown metric {self.metric!r}.{hint} Known: {', '.join(known)}")
        elif self.metric and self.metric not in KIND_METRICS.get(self.kind, known):
            fitting = ", ".join(KIND_METRICS[self.kind])
            found.append(
                f"task {self.name!r}: metric {self.metric!r} does not fit the kind {self.kind!r}, which has {fitting}"
            )
        for option in ("max_train", "max_dev", "max_test"):
            value = getattr(self, option)
            if value is not None and value < 2:
                found.append(f"task {self.name!r}: {option} must be at least 2, got {value}")
        if self.max_length < 4:
            found.append(f"task {self.name!r}: max_length must be at least 4 tokens, got {self.max_length}")
        return found


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
