"""What a training run says: reports while it trains, and what it comes to."""

from dataclasses import dataclass, fields
from typing import Any

from trainables.tasks.scores import Scores


@dataclass(frozen=True)
class TrialReport:
    """How far a training run is. At a rung it carries the student's scores."""

    step: int
    train_tokens: int
    loss: float
    """Mean since the last report."""
    learning_rate: float
    gradient_norm: float
    """Mean since the last report, before clipping."""
    tokens_per_s: float
    elapsed_s: float
    scores: Scores | None = None
    """By the probe, at a rung."""

    def columns(self) -> dict[str, Any]:
        """The columns of the reports table."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "scores"}
        return {**own, "quality": self.scores.quality if self.scores else None}


@dataclass(frozen=True)
class Trained:
    """What a training run comes to; the names are columns of the trials table."""

    loss_first: float
    loss_last: float
    steps: int
    train_tokens: int
    train_s: float
    teacher_s: float | None
    """Of `train_s`, what the teacher took since the last resume; None on a GPU."""
    held_out_loss: float
    targets: str
    """Where the teacher's part of the loss came from: cache, live, or none."""
