"""Which student to take: the pick under a budget, why, the next best student, and the difference between the two.

Where the noise between seeds is known, a student that was confirmed with several seeds is preferred to one that beats
it by less than noise explains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.selection.front import aim, front_for, knee, values_of
from analysis.study.table import StudyTable
from analysis.words import plural
from spaces.errors import StillhouseError, choose
from spaces.records.costs import COSTS, PARAMETERS, Cost
from spaces.records.fronts import within
from spaces.records.objectives import QUALITY, Aim, Objective, Quality, all_objectives
from spaces.students.transfer import UNTRAINED


@dataclass(frozen=True)
class Pick:
    """A chosen student (a row of `Study.students`), the next best, and why."""

    trial: pd.Series
    runner_up: pd.Series | None
    reason: str

    @property
    def trade(self) -> dict[str, float]:
        """What the runner-up has more (or less, negative) of each objective than the pick."""
        if self.runner_up is None:
            return {}
        other, own = self.runner_up, self.trial
        known = {name: each.column for name, each in all_objectives().items() if each.column in own}
        found = {name: float(other[column]) - float(own[column]) for name, column in known.items()}
        return {name: value for name, value in found.items() if value == value}


def pick(
    study: StudyTable, *, min_quality: float | None = None, knee_of_front: bool = False, **limits: float | None
) -> Pick:
    """The student to take under a budget; `limits` are one for each cost: max_parameters, max_latency_ms, max_flops,
    max_peak_memory_mib, and those of costs that packages add.

    With a cost limit: the best quality within all limits. With `min_quality` alone: the cheapest that has it, by the
    study's first cost. With nothing, or with `knee_of_front`: the knee of the front, within what limits are given. The
    study's own limits hold unless one given here replaces them. Raises StillhouseError where nothing fits, and
    SpecError, which is one, with the known limits for a limit of another name.
    """
    costs = {cost.limit: cost for cost in COSTS.values()}
    ceilings = {choose("limit", costs, name): limit for name, limit in limits.items() if limit is not None}
    own, rows = aim(study), study.students
    own = replace(own, limits={cost: limit for cost, limit in own.limits.items() if cost not in ceilings})
    rows = rows[rows["quality"].notna().to_numpy() & within(values_of(rows), own.limits)]
    if rows.empty:
        bound = f" within its limits ({own.limits_text})" if own.limits else ""
        raise StillhouseError(
            f"{study.folder} has no finished trial to pick from{bound}; {len(study.trials)} trials ended in all."
        )
    fits, rules = _fitting(rows, ceilings, min_quality)
    if knee_of_front or not rules:
        return _pick_knee(study, own, rows[fits], rules)
    first = own.costs[0] if own.costs else PARAMETERS
    by, order = ["quality", first.column], [False, True]
    what = "the best quality"
    if not ceilings:
        by, order, what = by[::-1], order[::-1], f"the fewest {first.amount}"
    ranked = rows[fits].sort_values(by, ascending=order, kind="stable")
    reason = f"{what} among the {len(ranked)} of {len(rows)} finished students with {' and '.join(rules)}"
    if ceilings:
        ranked, note = _confirmed_first(study, ranked)
        reason += note
    return Pick(ranked.iloc[0], ranked.iloc[1] if len(ranked) > 1 else None, reason)


def _fitting(
    rows: pd.DataFrame, ceilings: Mapping[Cost, float], min_quality: float | None
) -> tuple[np.ndarray, list[str]]:
    """Mask of the rows that keep all limits, and the limits in words."""
    rules, within_N = [], np.ones(len(rows), dtype=bool)
    bounds: list[tuple[Objective, float]] = [*ceilings.items()]
    bounds += [] if min_quality is None else [(QUALITY, min_quality)]
    for objective, bound in bounds:
        value_N = rows[objective.column].to_numpy(dtype=float)
        if isinstance(objective, Quality):
            rule, fits_N = f"quality of at least {bound:.4g}", value_N >= bound
        else:
            shown = f"{bound:,.10g}" if objective.decimals or bound < 1 else f"{bound:,.0f}"
            rule, fits_N = f"at most {shown} {objective.amount}", value_N <= bound
        if not fits_N.any():
            raise StillhouseError(_nothing_fits(rows, objective, rule))
        rules.append(rule)
        within_N &= fits_N
    if not within_N.any():
        raise StillhouseError(f"no finished student has all of: {'; '.join(rules)}. Each alone can be met: relax one.")
    return within_N, rules


def _confirmed_first(study: StudyTable, ranked: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The ranking with a confirmed student on top, if the first has one seed and is not better beyond noise."""
    first = ranked.iloc[0]
    if not study.noise.known or first["seeds"] > 1 or first["method"] == UNTRAINED:
        return ranked, ""
    confirmed = ranked[ranked["seeds"] > 1]
    alike = confirmed[study.noise.same(first["quality"], 1, confirmed["quality"], confirmed["seeds"])]
    if alike.empty:
        return ranked, ""
    chosen = alike.iloc[0]
    reordered = pd.concat([alike.iloc[:1], ranked.drop(alike.index[0])])
    return reordered, (
        f"; it has {chosen['seeds']} seeds, and trial {first['trial']}, with one, is better by no more than noise "
        f"({first['quality']:.3f})"
    )


def _pick_knee(study: StudyTable, own: Aim, rows: pd.DataFrame, rules: Sequence[str]) -> Pick:
    members = front_for(study, own)
    members = members[members.index.isin(rows.index)]
    if members.empty:
        bound = f" with {' and '.join(rules)}" if rules else ""
        needed = f"no student on the front{bound}" if rules else "no finished trial"
        raise StillhouseError(f"{needed} has all of {', '.join(study.meta.objectives)} measured.")
    first = knee(members, own.objectives)
    rest = members.drop(members.index[first])
    *others, last = (objective.label for objective in own.objectives)
    names = f"{', '.join(others)} and {last}" if others else last
    reason = (
        f"the knee of the front of {names} ({plural(len(members), 'student')}): from here, more of one objective costs "
        "most of another"
    )
    if rules:
        reason += f"; among those with {' and '.join(rules)}"
    return Pick(members.iloc[first], rest.iloc[knee(rest, own.objectives)] if len(rest) else None, reason)


def _nothing_fits(rows: pd.DataFrame, objective: Objective, rule: str) -> str:
    values = rows[objective.column]
    if values.isna().all():
        return f"no finished student has {rule}: {objective.column} was not measured in this study."
    nearest = rows.loc[values.idxmax() if isinstance(objective, Quality) else values.idxmin()]
    return (
        f"no finished student has {rule}; the nearest is trial {nearest['trial']} with "
        f"{nearest[objective.column]:,.{objective.decimals}f}."
    )
