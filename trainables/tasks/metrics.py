"""Task metrics, and the share of the teacher's gain that a student recovers.

A metric is a function of (targets, predictions); predictions are class ids, or real numbers for regression. Entity F1
also has to know where sentences end and what the tags are called; `metric_of` hides that. All are better when larger
and at most 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spaces.errors import SpecError
from trainables.tasks.entities import entity_f1

Metric = Callable[[np.ndarray, np.ndarray], float]
KIND_METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "f1", "matthews"),
    "pair_classification": ("accuracy", "f1", "matthews"),
    "regression": ("spearman",),
    "token_classification": ("accuracy", "entity_f1"),
}
"""The metrics of each kind of task; the first is its default."""
MINIMUM_GAP = 0.02


@dataclass(frozen=True)
class TaskScore:
    """A score between 0 and 1 (correlations from -1), and how it came about.

    `layer` is the layer whose features the probe chose: 0 the embeddings, 1 the first layer; None under fine-tuning.
    `converged` is False when the final probe hit its iteration limit.
    """

    score: float
    layer: int | None
    metric: str
    converged: bool = True


Scorer = Callable[[str], TaskScore]
"""What has been fitted on a task's train split: the score on another split, by its name."""


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


def f1(targets: np.ndarray, predictions: np.ndarray) -> float:
    """F1 of class 1 for two classes (MRPC's metric), the mean over classes for more."""
    from sklearn.metrics import f1_score

    binary = max(targets.max(), predictions.max()) <= 1
    return float(f1_score(targets, predictions, average="binary" if binary else "macro", zero_division=0.0))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "spearman": spearman,
    "matthews": matthews,
    "f1": f1,
}


def metric_of(name: str, lengths: np.ndarray, label_names: Sequence[str]) -> Metric:
    """A metric by name, for examples that have so many labels each (words of a sentence; else 1)."""
    if name == "entity_f1":
        return lambda targets, predictions: entity_f1(targets, predictions, lengths, label_names)
    return METRICS[name]


def recovered(score: float, teacher: float, floor: float) -> float:
    """(s - f) / (T - f): 0 for an untrained encoder, 1 for the teacher; may leave that range."""
    return (score - floor) / (teacher - floor)


def worst_language(shares: Mapping[str, float], languages: Mapping[str, str]) -> tuple[str, float]:
    """(code, mean share over its tasks) of the language that comes off worst; the first by code among equals.

    shares: task -> share recovered. languages: task -> code; tasks that name none have no say.
    """
    by_code: dict[str, list[float]] = {}
    for task, code in languages.items():
        by_code.setdefault(code, []).append(shares[task])
    means = {code: sum(by_code[code]) / len(by_code[code]) for code in sorted(by_code)}
    worst = min(means, key=lambda code: means[code])
    return worst, means[worst]


def check_gap(task: str, teacher: float, floor: float, minimum: float = MINIMUM_GAP) -> None:
    """Refuse a task on which the teacher is hardly better than an untrained encoder: shares of nothing are noise."""
    if not (math.isfinite(teacher) and math.isfinite(floor) and teacher - floor >= minimum):
        rule = f"the gap must be at least {minimum:g}"
        advice = "Leave the task out, give it more train rows, or take another teacher"
        raise SpecError(
            [
                f"task {task!r}: teacher scores {teacher:.3f}, hardly above its floor {floor:.3f}, the score of an "
                f"untrained encoder; {rule}. {advice}"
            ]
        )
