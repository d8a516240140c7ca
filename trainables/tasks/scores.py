"""What a student scores on its tasks, measured against teacher and floor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reference:
    """The scores of the teacher and of the floor, an untrained encoder, on one split of one task."""

    teacher: float
    floor: float


@dataclass(frozen=True)
class StudentScore:
    """A student's score on one split of one task."""

    score: float
    """In the task's metric."""
    recovered: float
    """The share of the gap between floor and teacher."""
    layer: int | None
    """The layer that the probe chose: 0 the embeddings; None where none was chosen."""
    metric: str
    protocol: str
    """How it was scored: zero_shot, probe or finetune."""


@dataclass(frozen=True)
class Scores:
    """A student's dev scores."""

    quality: float
    """Weighted mean over tasks of the recovered share, each within -1 and 1."""
    tasks: Mapping[str, StudentScore]
    worst_language: str | None = None
    worst_language_quality: float | None = None

    def columns(self) -> dict[str, Any]:
        """The score columns of the trials table."""
        columns: dict[str, Any] = {"quality": self.quality}
        for name, each in self.tasks.items():
            columns |= {
                f"score_{name}": each.score, f"recovered_{name}": each.recovered, f"probe_layer_{name}": each.layer
            }  # fmt: skip
        if self.worst_language is not None:
            columns["worst_language"] = self.worst_language
            columns["worst_language_quality"] = self.worst_language_quality
        return columns
