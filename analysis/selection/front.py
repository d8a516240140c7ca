"""Which students are worth having: the front, its volume and its knee.

Inside this file every objective is a cost, smaller is better; an objective to maximise enters with its sign turned.
Hypervolume is measured in units of the teacher: quality from the floor (0) up, costs as shares of the teacher's, so 1
would be the teacher's quality at no cost, and a student that is worse than the floor or dearer than the teacher adds 0.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.study.table import StudyTable
from spaces.records import fronts
from spaces.records.fronts import Values, front_costs, front_indices, hypervolume, within
from spaces.records.objectives import Aim, Objective, aim_of


def aim(study: StudyTable, objectives: Sequence[str] | None = None) -> Aim:
    """What the study looks for, with other objectives if told; its limits stay."""
    return aim_of(objectives, study.meta.constraints) if objectives else study.meta.aim


def values_of(rows: pd.DataFrame) -> Values:
    """The numbers of a table for spaces/records/fronts.py."""
    return lambda names: rows.reindex(columns=names).to_numpy(dtype=float)


def costs_of(rows: pd.DataFrame, objectives: Sequence[Objective]) -> np.ndarray:
    """One column per objective, turned so that smaller is better; what was not measured is NaN."""
    return fronts.costs_of(values_of(rows), objectives)


def front(study: StudyTable, objectives: Sequence[str] | None = None) -> pd.DataFrame:
    """The students (`study.students`) within the study's limits that no other beats, cheapest first.

    `rivals` tells how many cheaper students a member is no better than, as far as the noise between seeds is known:
    above 0, it may owe its place to chance.
    """
    return front_for(study, aim(study, objectives))


def front_for(study: StudyTable, aim: Aim) -> pd.DataFrame:
    """`front` for another aim than the study's own."""
    rows = study.students
    members = rows.iloc[front_indices(values_of(rows), aim)]
    kept = rows[within(values_of(rows), aim.limits)]
    return members.assign(rivals=_rivals(study, members, kept, aim.costs))


def _rivals(study: StudyTable, members: pd.DataFrame, rows: pd.DataFrame, costs: Sequence[Objective]) -> list[int]:
    if not study.noise.known or not costs:
        return [0] * len(members)
    costs_NK, own_MK = costs_of(rows, costs), costs_of(members, costs)
    quality_N, seeds_N = rows["quality"].to_numpy(dtype=float), study.seeds_of(rows)
    found = []
    for own_K, quality, seeds in zip(own_MK, members["quality"], study.seeds_of(members), strict=True):
        cheaper_N = (costs_NK <= own_K).all(axis=1) & (costs_NK < own_K).any(axis=1)
        found.append(int(study.noise.same(quality, seeds, quality_N[cheaper_N], seeds_N[cheaper_N]).sum()))
    return found


def teacher_shares(study: StudyTable, rows: pd.DataFrame, own: Aim) -> np.ndarray:
    """Costs in units of the teacher (module docstring), NaN beyond the limits.

    The dearest trial stands in where the teacher has no number.
    """
    costs_NK = front_costs(values_of(rows), own)
    for k, objective in enumerate(own.objectives):
        if objective.direction == "min":
            teacher = study.meta.teacher.costs.get(objective.column)
            costs_NK[:, k] /= teacher if teacher else np.nanmax(costs_NK[:, k], initial=1e-12)
    return costs_NK


def reference_of(objectives: Sequence[Objective]) -> list[float]:
    """The corner of the hypervolume: the floor's quality, the teacher's costs."""
    return [0.0 if objective.direction == "max" else 1.0 for objective in objectives]


def hypervolume_history(study: StudyTable) -> pd.DataFrame:
    """Best hypervolume so far after each finished trial: columns trial, finished (a count), train_s, hypervolume.

    A trial adds its student in each precision, as the front has them. `train_s` is what all trials up to this one
    trained, stopped and failed ones too.
    """
    own, rows, students = aim(study), study.finished, study.candidates
    costs_NK, reference_K = teacher_shares(study, students, own), reference_of(own.objectives)
    owner_N = students["of_trial"].fillna(students["trial"]).to_numpy()
    kept_MK, volume, volumes = np.empty((0, len(own.objectives))), 0.0, {}
    for i in np.argsort(owner_N, kind="stable"):
        row_K = costs_NK[i]
        beaten = (kept_MK <= row_K).all(axis=1).any()
        if np.isfinite(row_K).all() and (row_K < reference_K).all() and not beaten:
            kept_MK = np.vstack([kept_MK[~(row_K <= kept_MK).all(axis=1)], row_K])
            volume = hypervolume(kept_MK, reference_K)
        volumes[owner_N[i]] = volume  # the last of its students has all of them
    ran = study.trials["status"] != "duplicate"
    trained_s = study.trials["train_s"].where(ran).fillna(0).cumsum().loc[rows.index]
    counts_N = np.arange(1, len(rows) + 1)
    volume_N = list(volumes.values())
    return pd.DataFrame({"trial": rows["trial"], "finished": counts_N, "train_s": trained_s, "hypervolume": volume_N})


def knee(members: pd.DataFrame, objectives: Sequence[Objective]) -> int:
    """Position of the front member where giving up more of one objective stops paying for the others.

    Every objective is scaled to [0, 1] over the front; the knee has the least shortfall in quality plus mean cost. For
    two objectives that is the point furthest from the line through the ends (Das 1999); the mean keeps several costs
    that rise together, such as size and latency, from outvoting quality. Ties go to quality.
    """
    costs_NK = costs_of(members, objectives)
    span_K = np.ptp(costs_NK, axis=0)
    scaled_NK = (costs_NK - costs_NK.min(axis=0)) / np.where(span_K > 0, span_K, 1)
    gained_K = np.array([objective.direction == "max" for objective in objectives])
    sides = [scaled_NK[:, side_K].mean(axis=1) for side_K in (gained_K, ~gained_K) if side_K.any()]
    sums_N = np.sum(sides, axis=0)
    tied = np.flatnonzero(sums_N <= sums_N.min() + 1e-9)
    return int(tied[np.argmin(sides[0][tied])])
