"""Which students are worth having: the front, its volume, its knee, and the pick under a budget.

Inside this file every objective is a cost, smaller is better; an objective to maximise enters with its sign turned.
Hypervolume is measured in units of the teacher: quality from the floor (0) up, costs as shares of the teacher's, so 1
would be the teacher's quality at no cost, and a student that is worse than the floor or dearer than the teacher adds 0.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.table import Study
from spaces.dominance import hypervolume, non_dominated
from spaces.errors import StillhouseError, choose
from spaces.records import OBJECTIVES, Objective


def objectives_of(study: Study, names: Sequence[str] | None = None) -> list[Objective]:
    """The objectives by name, the study's own unless told."""
    return [choose("objective", OBJECTIVES, name) for name in names or study.meta["objectives"]]


def costs_of(rows: pd.DataFrame, objectives: Sequence[Objective]) -> np.ndarray:
    """One column per objective, turned so that smaller is better; what was not measured is NaN."""
    columns = [rows[o.column].to_numpy(dtype=float) * (-1 if o.direction == "max" else 1) for o in objectives]
    return np.stack(columns, axis=1)


def limits_of(study: Study) -> dict[Objective, float]:
    """The study's upper limits on costs."""
    limits = study.meta.get("constraints") or {}
    return {choose("objective", OBJECTIVES, name): float(limit) for name, limit in limits.items()}


def limits_text(study: Study) -> str:
    """'latency_ms <= 4, parameters <= 15,000,000'."""
    return ", ".join(f"{objective.name} <= {limit:,.10g}" for objective, limit in limits_of(study).items())


def within_limits(study: Study, rows: pd.DataFrame, overridden: Collection[Objective] = ()) -> np.ndarray:
    """Mask of the rows that keep the study's limits, but for those `overridden`; what was not measured keeps none."""
    mask_N = np.ones(len(rows), dtype=bool)
    for objective, limit in limits_of(study).items():
        if objective not in overridden:
            mask_N &= rows[objective.column].to_numpy(dtype=float) <= limit
    return mask_N


def front(study: Study, objectives: Sequence[str] | None = None) -> pd.DataFrame:
    """The finished trials within the study's limits that no other such trial beats, cheapest first."""
    chosen, rows = objectives_of(study, objectives), study.finished[within_limits(study, study.finished)]
    members = rows[non_dominated(costs_of(rows, chosen))]
    by = [o.column for o in chosen if o.direction == "min"] + [o.column for o in chosen if o.direction == "max"]
    return members.sort_values(by, kind="stable")


def teacher_shares(study: Study, rows: pd.DataFrame, objectives: Sequence[Objective]) -> np.ndarray:
    """Costs in units of the teacher (module docstring); the dearest trial stands in where the teacher has no number."""
    costs_NK = costs_of(rows, objectives)
    for k, objective in enumerate(objectives):
        if objective.direction == "min":
            teacher = study.meta["teacher"].get(objective.column)
            costs_NK[:, k] /= teacher if teacher else np.nanmax(costs_NK[:, k], initial=1e-12)
    return costs_NK


def reference_of(objectives: Sequence[Objective]) -> list[float]:
    """The corner of the hypervolume: the floor's quality, the teacher's costs."""
    return [0.0 if objective.direction == "max" else 1.0 for objective in objectives]


def hypervolume_history(study: Study) -> pd.DataFrame:
    """Best hypervolume so far after each finished trial: columns trial, finished (a count), hypervolume."""
    objectives, rows = objectives_of(study), study.finished
    costs_NK, reference_K = teacher_shares(study, rows, objectives), reference_of(objectives)
    costs_NK[~within_limits(study, rows)] = np.nan
    kept_MK, volume, volumes = np.empty((0, len(objectives))), 0.0, []
    for row_K in costs_NK:
        beaten = (kept_MK <= row_K).all(axis=1).any()
        if np.isfinite(row_K).all() and (row_K < reference_K).all() and not beaten:
            kept_MK = np.vstack([kept_MK[~(row_K <= kept_MK).all(axis=1)], row_K])
            volume = hypervolume(kept_MK, reference_K)
        volumes.append(volume)
    return pd.DataFrame({"trial": rows["trial"], "finished": np.arange(1, len(rows) + 1), "hypervolume": volumes})


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


@dataclass(frozen=True)
class Pick:
    """A chosen trial, the next best, and why."""

    trial: pd.Series
    runner_up: pd.Series | None
    reason: str


def pick(
    study: Study,
    max_parameters: float | None = None,
    max_latency_ms: float | None = None,
    max_flops: float | None = None,
    min_quality: float | None = None,
    below_teacher_fraction: float | None = None,
) -> Pick:
    """The student to take under a budget.

    With a cost limit: the best quality within all limits. With only a wish for quality (`min_quality`, or at most
    `below_teacher_fraction` of the teacher's gain lost, 0.1 meaning quality 0.9): the cheapest that meets it, by the
    study's first cost. With nothing: the knee of the front. The study's own limits hold unless one given here replaces
    them.
    """
    quality = OBJECTIVES["quality"]
    limits = {"parameters": max_parameters, "latency_ms": max_latency_ms, "flops": max_flops}
    ceilings = {OBJECTIVES[name]: limit for name, limit in limits.items() if limit is not None}
    wishes = [] if min_quality is None else [min_quality]
    wishes += [] if below_teacher_fraction is None else [1 - below_teacher_fraction]
    rows = study.finished
    rows = rows[rows[quality.column].notna().to_numpy() & within_limits(study, rows, ceilings)]
    if rows.empty:
        bound = f" within its limits ({limits_text(study)})" if limits_of(study) else ""
        raise StillhouseError(
            f"{study.folder} has no finished trial to pick from{bound}; {len(study.trials)} trials ended in all."
        )
    if not ceilings and not wishes:
        return _pick_knee(study)

    rules, within = [], np.ones(len(rows), dtype=bool)
    for objective, limit in ceilings.items():
        rules.append(f"at most {limit:,.10g} {_unit(objective)}")
        fits = rows[objective.column].to_numpy(dtype=float) <= limit
        if not fits.any():
            raise StillhouseError(_nothing_fits(rows, objective, rules[-1], smallest=True))
        within &= fits
    if wishes:
        rules.append(f"quality of at least {max(wishes):.4g}")
        fits = rows[quality.column].to_numpy(dtype=float) >= max(wishes)
        if not fits.any():
            raise StillhouseError(_nothing_fits(rows, quality, rules[-1], smallest=False))
        within &= fits
    if not within.any():
        raise StillhouseError(f"no finished student has all of: {'; '.join(rules)}. Each alone can be met: relax one.")

    costs = [o for o in objectives_of(study) if o.direction == "min"] or [OBJECTIVES["parameters"]]
    by, order = [quality.column, costs[0].column], [False, True]
    what = "the best quality"
    if not ceilings:
        by, order, what = by[::-1], order[::-1], f"the fewest {_unit(costs[0])}"
    ranked = rows[within].sort_values(by, ascending=order, kind="stable")
    reason = f"{what} among the {len(ranked)} of {len(rows)} finished students with {' and '.join(rules)}"
    return Pick(ranked.iloc[0], ranked.iloc[1] if len(ranked) > 1 else None, reason)


def _pick_knee(study: Study) -> Pick:
    objectives, members = objectives_of(study), front(study)
    if members.empty:
        raise StillhouseError(f"no finished trial has all of {', '.join(study.meta['objectives'])} measured.")
    first = knee(members, objectives)
    rest = members.drop(members.index[first])
    reason = f"the knee of the front ({len(members)} students): from here, more of one objective costs most of another"
    return Pick(members.iloc[first], rest.iloc[knee(rest, objectives)] if len(rest) else None, reason)


def _unit(objective: Objective) -> str:
    words = {"latency_ms": "ms of latency (p50)", "flops": "FLOPs per token"}
    return words.get(objective.name, objective.name)


def _nothing_fits(rows: pd.DataFrame, objective: Objective, rule: str, smallest: bool) -> str:
    values = rows[objective.column]
    if values.isna().all():
        return f"no finished student has {rule}: {objective.column} was not measured in this study."
    nearest = rows.loc[values.idxmin() if smallest else values.idxmax()]
    return (
        f"no finished student has {rule}; the nearest is trial {nearest['trial']} with "
        f"{nearest[objective.column]:,.6g}."
    )
