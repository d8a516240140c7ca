"""What a student scores on its tasks, measured against teacher and floor."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """The scores of the teacher and of the floor, an untrained encoder, on one split of one task."""

    teacher: float
    floor: float


@dataclass(frozen=True)
class EncoderScore:
    """What an encoder scores on one split of one task, for itself."""

    score: float
    """In the task's metric."""
    layer: int | None
    """The layer that the probe chose: 0 the embeddings; None where none was chosen."""
    metric: str
    protocol: str
    """How it was scored: zero_shot, probe or finetune."""


@dataclass(frozen=True)
class MeasuredReference:
    """How a reference came about: the teacher's score, and that of each untrained encoder."""

    teacher: EncoderScore
    floor_seeds: tuple[float, ...]

    @property
    def floor(self) -> float:
        """The mean of the untrained encoders."""
        return sum(self.floor_seeds) / len(self.floor_seeds)

    @property
    def reference(self) -> Reference:
        """What students are measured against."""
        return Reference(self.teacher.score, self.floor)


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
    torch_quality: float | None = None
    """Of the student itself, where these are the scores of its file for another runtime."""
