"""The students that add most to a front: whom `stillhouse confirm` runs again, and whom the end of a search trains on.

A place on the front may be owed to chance, and so may a place just behind it. So every student is taken with its
quality raised by the noise, alone, and asked what it would add to the volume of the front of all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search.store.history import is_untrained
from spaces.records.fronts import by_configuration, front_costs, hypervolume, non_dominated, values_of
from spaces.records.meta import StudyMeta
from spaces.records.objectives import Aim
from spaces.records.rows import TrialRow
from spaces.records.shares import mean_error
from spaces.students.architecture import outline

REFERENCE = 1.1
"""With every objective stretched to [0, 1], so that the ends of a front count as well."""


@dataclass(frozen=True)
class Leader:
    """A student that is worth more seeds."""

    row: TrialRow
    on_front: bool

    def words(self, margin: float) -> str:
        """'trial 10, 3x144 by hs, quality 0.861: on the front'."""
        config = self.row.config
        name = f"{outline(config)} by {config['method']}{f', {self.row.precision}' if self.row.precision else ''}"
        why = "on the front" if self.on_front else f"not on the front, but within noise ({margin:.3f}) of it"
        return f"trial {self.row.trial}, {name}, quality {self.row.rank_quality:.3f}: {why}"


def leading(rows: Sequence[TrialRow], aim: Aim, top: int, margin: float = 0.0) -> list[Leader]:
    """At most `top` students, those that add most first; `margin` is the noise of a quality.

    None that adds nothing, and no start: it has no seeds, neither by itself nor where a trial kept it.
    """
    finished = by_configuration(rows, aim.axes)
    costs_NK = front_costs(values_of(finished), aim)
    usable_N = np.isfinite(costs_NK).all(axis=1)
    if not usable_N.any():
        return []
    low_K, high_K = costs_NK[usable_N].min(axis=0), costs_NK[usable_N].max(axis=0)
    width_K = np.where(high_K > low_K, high_K - low_K, 1.0)
    qualities_K = np.array([objective.direction == "max" for objective in aim.objectives])
    scaled_NK, raised_K = (costs_NK - low_K) / width_K, np.where(qualities_K, margin, 0.0) / width_K
    on_front_N, reference = non_dominated(costs_NK), [REFERENCE] * len(width_K)
    gains_N = np.zeros(len(finished))
    for i in np.flatnonzero(usable_N):
        others_MK = scaled_NK[on_front_N & (np.arange(len(finished)) != i)]
        raised_MK = np.vstack([others_MK, scaled_NK[i] - raised_K])
        gains_N[i] = hypervolume(raised_MK, reference) - hypervolume(others_MK, reference)
    started_N = [is_untrained(row.config) or row.kept_tokens == 0 for row in finished]
    order = [i for i in np.argsort(-gains_N, kind="stable") if gains_N[i] > 0 and not started_N[i]]
    return [Leader(finished[i], bool(on_front_N[i])) for i in order[:top]]


def noise_of(rows: Sequence[TrialRow], meta: StudyMeta) -> float:
    """One standard error of quality by the number of dev examples, the median over rows; 0 where it is not known.

    Not the noise between seeds: a second call has more seeds, and must go on with the same students.
    """
    errors = [mean_error(_errors(row, meta), meta.weights) for row in rows if row.status == "finished" and row.tasks]
    known = [error for error in errors if error == error]
    return float(np.median(known)) if known else 0.0


def _errors(row: TrialRow, meta: StudyMeta) -> Mapping[str, float]:
    scores = {name: row.tasks[name].score for name in meta.tasks if name in row.tasks}
    return {
        name: float("nan") if score is None else meta.tasks[name].gap.share_error(score)
        for name, score in scores.items()
    }
