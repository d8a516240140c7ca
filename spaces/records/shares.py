"""Shares of the gap between floor and teacher: their mean, how far the number of examples lets them be trusted.

A share is (s - f) / (T - f) with the scores s of a student, T of the teacher and f of the floor. All three are measured
on a limited number of examples, so each has a standard error, and the share of a small gap has a large one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CORRELATIONS = ("spearman", "pearson", "matthews")
"""Metrics from -1 to 1 that are correlations; Matthews' is Pearson's of two binary variables."""
LEAST_GAP = 3.0
"""Standard errors that the gap of a task must have; below, its shares are marked wherever they are shown."""
BOUND = 1.0
"""Shares enter the mean as if they were within -BOUND and BOUND."""
NORMAL_95 = 1.96
WEAK = "*"
"""Behind the name of a task whose gap is weak, in tables; the warning beside them says why."""


@dataclass(frozen=True)
class Gap:
    """What shares of one task are measured by, on one split."""

    metric: str
    examples: int
    """rows of the split; 0: not known"""
    teacher: float
    floor: float

    @property
    def in_errors(self) -> float:
        """The gap in units of its standard error, NaN where that is not known."""
        error = math.hypot(self._error(self.teacher), self._error(self.floor))
        return abs(self.teacher - self.floor) / error if error else float("nan")

    @property
    def is_weak(self) -> bool:
        """Whether the gap is so small, for so few examples, that its shares say little."""
        return self.in_errors < LEAST_GAP

    @property
    def examples_needed(self) -> int:
        """Of the same kind, for a gap of LEAST_GAP errors."""
        return math.ceil(self.examples * (LEAST_GAP / self.in_errors) ** 2) if self.in_errors > 0 else 0

    def share_error(self, score: float) -> float:
        """Standard error of the share of a student with this score, NaN where it is not known.

        The delta method for (s - f) / (T - f) with independent errors: sqrt(e_s^2 + r^2 e_T^2 + (1 - r)^2 e_f^2)
        / |T - f| for the share r. Scores on the same examples err together, so this is an upper estimate.
        """
        gap = self.teacher - self.floor
        if not gap:
            return float("nan")
        share = (score - self.floor) / gap
        errors = self._error(score), share * self._error(self.teacher), (1 - share) * self._error(self.floor)
        return math.hypot(*errors) / abs(gap)

    def _error(self, score: float) -> float:
        return standard_error(self.metric, score, self.examples)

    def told(self, task: str, split: str) -> str:
        """What a person must know of a weak gap; empty for any other."""
        if not self.is_weak:
            return ""
        return (
            f"task {task}: the teacher ({self.teacher:.3f}) is {self.in_errors:.1f} standard errors above an untrained "
            f"encoder ({self.floor:.3f}) on {self.examples:,} {split} examples, and {LEAST_GAP:g} are needed: shares "
            "of this gap say little, so read the raw scores"
        )

    def warning(self, task: str, split: str) -> str:
        """The same, and what whose task it is can do."""
        if not self.is_weak:
            return ""
        return (
            f"{self.told(task, split)}. Give it about {self.examples_needed:,} {split} examples, or a smaller weight, "
            "or leave it out"
        )


def standard_error(metric: str, score: float, examples: int) -> float:
    """Of a score on that many examples, by sampling alone; NaN where it is not known.

    Correlations: Fisher's z with the variance (1 + r^2 / 2) / (n - 3) (Bonett and Wright 2000,
    doi:10.1007/BF02294183), brought back by the delta method. Other metrics from 0 to 1: sqrt(p (1 - p) / n), exact for
    accuracy and an upper bound for the mean of any numbers from 0 to 1 (Bhatia and Davis 2000,
    doi:10.1080/00029890.2000.12005203), such as nDCG over queries; for F1 an approximation.
    """
    if metric in CORRELATIONS:
        if examples <= 3 or not abs(score) <= 1:
            return float("nan")
        return (1 - score**2) * math.sqrt((1 + score**2 / 2) / (examples - 3))
    if examples < 1 or not 0 <= score <= 1:
        return float("nan")
    return math.sqrt(score * (1 - score) / examples)


def clipped(share: float) -> float:
    """A share as it enters the mean: what a student gains on one task cannot hide what it loses on another."""
    return max(-BOUND, min(BOUND, share))


def mean_share(shares: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The weighted mean over tasks of the shares, each within -BOUND and BOUND; a task without a weight has 1."""
    total = sum(weights.get(task, 1.0) for task in shares)
    return sum(weights.get(task, 1.0) * clipped(share) for task, share in shares.items()) / total


def joined(first: Any, second: Any) -> Any:
    """Two independent reaches of one interval as one, numbers or arrays; what is not known is left out, NaN if both."""
    unknown = np.isnan(first) & np.isnan(second)
    return np.where(unknown, np.nan, np.hypot(np.nan_to_num(first), np.nan_to_num(second)))


def mean_error(errors: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Standard error of `mean_share` from those of its shares, as if none was clipped; NaN if one is not known."""
    total = sum(weights.get(task, 1.0) for task in errors)
    return math.hypot(*(weights.get(task, 1.0) * error for task, error in errors.items())) / total


def weights_text(weights: Mapping[str, float]) -> str:
    """'tickets 2, similar 1': the weights of tasks in quality; '' where all weigh the same."""
    return "" if len({*weights.values()}) < 2 else ", ".join(f"{task} {weight:g}" for task, weight in weights.items())
