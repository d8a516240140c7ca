"""Task metrics, and the share of the teacher's gain that a student recovers.

A metric is a function of (labels, predictions, label names). Labels keep rows apart, so that a metric may know where a
sentence ends or which candidates belong to one query; predictions are what a protocol gives: class ids, real numbers,
or what else its kind of task needs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spaces.errors import SpecError
from spaces.records.shares import mean_share
from trainables.tasks.entities import bio_problem, entity_f1
from trainables.text.ragged import Ragged

MINIMUM_GAP = 0.02


@dataclass(frozen=True)
class Metric:
    """How predictions become a score.

    worst and best are the ends of its range, or where none is known an infinity; larger is better where best is larger.
    misfit: why the metric means nothing for these label names, or None.
    """

    name: str
    function: Callable[[Ragged, Any, Sequence[str]], float]
    worst: float = 0.0
    best: float = 1.0
    misfit: Callable[[Sequence[str]], str | None] = lambda names: None

    @property
    def sign(self) -> int:
        """1 where larger is better, else -1."""
        return 1 if self.best > self.worst else -1


def by_label(function: Callable[[np.ndarray, Any], float]) -> Callable[[Ragged, Any, Sequence[str]], float]:
    """A metric of (targets, predictions), one for each label, that asks nothing else."""
    return lambda labels, predictions, names: function(np.asarray(labels.values), predictions)


def accuracy(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Share of right answers."""
    return float(np.mean(targets == predictions))


def spearman(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Rank correlation; 0 when the predictions are all equal, which says nothing about any order."""
    from scipy.stats import spearmanr

    if np.ptp(predictions) == 0 or np.ptp(targets) == 0:
        return 0.0
    return float(spearmanr(targets, predictions).statistic)


def matthews(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Matthews correlation, CoLA's metric; 0 when only one class is answered."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, predictions))


def f1(labels: Ragged, predictions: np.ndarray, names: Sequence[str]) -> float:
    """F1 of the second of two classes (MRPC's metric), which `positive_class` chooses; the mean over classes for more.

    Which of the two it is follows from the classes of the task, never from those that are answered.
    """
    from sklearn.metrics import f1_score

    average = "binary" if len(names) <= 2 else "macro"
    return float(f1_score(np.asarray(labels.values), predictions, average=average, zero_division=0.0))


def v_measure(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Harmonic mean of homogeneity and completeness of clusters (Rosenberg & Hirschberg 2007)."""
    from sklearn.metrics import v_measure_score

    return float(v_measure_score(targets, predictions))


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", by_label(accuracy)),
        Metric("f1", f1),
        Metric("matthews", by_label(matthews), worst=-1.0),
        Metric("spearman", by_label(spearman), worst=-1.0),
        Metric("v_measure", by_label(v_measure)),
        Metric("entity_f1", entity_f1, misfit=bio_problem),
    )
}
"""The metrics that come with stillhouse. A kind of task names those that fit it, and may bring others."""
OF_CLASSES = (METRICS["accuracy"], METRICS["f1"], METRICS["matthews"])
"""Those of one class id for each text or pair."""


def recovered(score: float, teacher: float, floor: float) -> float:
    """(s - f) / (T - f): 0 for an untrained encoder, 1 for the teacher; may leave that range."""
    return (score - floor) / (teacher - floor)


def worst_language(
    shares: Mapping[str, float], languages: Mapping[str, str], weights: Mapping[str, float]
) -> tuple[str, float]:
    """(code, mean share over its tasks) of the language that comes off worst; the first by code among equals.

    shares: task -> share recovered. languages: task -> code; tasks that name none have no say. The mean is that of
    quality (`mean_share`).
    """
    by_code: dict[str, dict[str, float]] = {}
    for task, code in languages.items():
        by_code.setdefault(code, {})[task] = shares[task]
    means = {code: mean_share(by_code[code], weights) for code in sorted(by_code)}
    worst = min(means, key=lambda code: means[code])
    return worst, means[worst]


def check_gap(task: str, teacher: float, floor: float, sign: int = 1, minimum: float = MINIMUM_GAP) -> None:
    """Refuse a task on which the teacher is hardly better than an untrained encoder: shares of nothing are noise.

    sign: that of the metric.
    """
    if not (math.isfinite(teacher) and math.isfinite(floor) and sign * (teacher - floor) >= minimum):
        rule = f"the gap must be at least {minimum:g}"
        advice = "Leave the task out, give it more train rows, or take another teacher"
        raise SpecError(
            [
                f"task {task!r}: teacher scores {teacher:.3f}, hardly above its floor {floor:.3f}, the score of an "
                f"untrained encoder; {rule}. {advice}"
            ]
        )
