"""Which of several results no other result beats, and by how much. Numbers only: what they mean is the caller's.

Every column is a cost, smaller is better. Shapes: N rows, K columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spaces.records.columns import CONFIG_COLUMNS
from spaces.records.costs import Cost
from spaces.records.objectives import QUALITIES, Aim, Objective
from spaces.records.rows import STUDENTS, TrialRow

QUALITY_COLUMNS = tuple(quality.column for quality in QUALITIES.values())
Values = Callable[[list[str]], np.ndarray]
"""Columns by name -> (N, columns) numbers, NaN where there is none. Rows and data frames each give their own."""
Lookup = Callable[[str], float | None]
"""The number in a column: `value` of a row, or `get` of what has no row yet."""


def values_of(rows: Sequence[TrialRow]) -> Values:
    """The numbers of rows as they are in memory."""
    return looked_up([row.value for row in rows])


def looked_up(lookups: Sequence[Lookup]) -> Values:
    """The numbers that each of N finds in a column."""

    def values(names: list[str]) -> np.ndarray:
        found = [[look_up(name) for name in names] for look_up in lookups]
        return np.array(found, dtype=float).reshape(len(lookups), len(names))  # None is NaN

    return values


def costs_of(values: Values, objectives: Sequence[Objective]) -> np.ndarray:
    """(N, objectives) of numbers to be minimised; what is missing is NaN."""
    signs = np.array([-1.0 if o.direction == "max" else 1.0 for o in objectives])
    return values([o.column for o in objectives]) * signs


def costs_of_rows(rows: Sequence[TrialRow], objectives: Sequence[Objective]) -> np.ndarray:
    """`costs_of` for rows."""
    return costs_of(values_of(rows), objectives)


def within(values: Values, limits: Mapping[Cost, float]) -> np.ndarray:
    """(N,) mask of what keeps all limits; what was not measured keeps none."""
    limits_L = np.array(list(limits.values()), dtype=float)
    kept: np.ndarray = np.all(values([o.column for o in limits]) <= limits_L, axis=1)
    return kept


def front_costs(values: Values, aim: Aim) -> np.ndarray:
    """`costs_of` the objectives, all NaN where a limit is broken: such a row is on no front."""
    costs_NK = costs_of(values, aim.objectives)
    costs_NK[~within(values, aim.limits)] = np.nan
    return costs_NK


def configuration(row: TrialRow, axes: Sequence[str] = ()) -> tuple[Any, ...]:
    """What two rows share that differ in their seed only. axes: those of the study beside CONFIG_COLUMNS."""
    return (row.precision, row.parent, *(row.config.get(name) for name in (*CONFIG_COLUMNS, *axes)))


def by_configuration(rows: Sequence[TrialRow], axes: Sequence[str] = ()) -> list[TrialRow]:
    """One row for each configuration of finished trials and each precision, that of its first seed.

    Its qualities are means over seeds.
    """
    groups: dict[tuple[Any, ...], list[TrialRow]] = {}
    finished = (row for row in rows if row.status in STUDENTS and row.quality is not None)
    for row in sorted(finished, key=lambda row: row.trial):
        groups.setdefault(configuration(row, axes), []).append(row)
    return [replace(group[0], **_mean_qualities(group)) for group in groups.values()]


def _mean_qualities(rows: Sequence[TrialRow]) -> dict[str, Any]:
    values = {name: [row.value(name) for row in rows] for name in QUALITY_COLUMNS}
    known = {name: [value for value in found if value is not None] for name, found in values.items()}
    return {name: sum(found) / len(found) for name, found in known.items() if len(found) == len(rows)}


def non_dominated(costs_NK: np.ndarray) -> np.ndarray:
    """Mask of the rows that no other row beats: none is as good in every column and better in one.

    Equal rows count once: the first stays. Rows with NaN or infinity are never on the front.
    """
    costs_NK = np.asarray(costs_NK, dtype=float)
    mask_N = np.zeros(len(costs_NK), dtype=bool)
    usable = np.flatnonzero(np.isfinite(costs_NK).all(axis=1))
    # In lexicographic order a row can only be beaten by one before it; the sort is stable, so ties keep the first.
    order = usable[np.lexsort(costs_NK[usable].T[::-1])]
    members_MK, size = np.empty((len(order), costs_NK.shape[1])), 0
    for i in order:
        if not (members_MK[:size] <= costs_NK[i]).all(axis=1).any():
            members_MK[size] = costs_NK[i]
            size += 1
            mask_N[i] = True
    return mask_N


def ranks(costs_NK: np.ndarray, count: int | None = None) -> np.ndarray:
    """The front each row is on when fronts are peeled off one after the other, from 0 (Deb et al. 2002, section III).

    Equal rows share a front; rows with NaN or infinity come last, on one of their own. With `count`, fronts are told
    apart only until so many rows are placed; the others share the next one.
    """
    costs_NK = np.asarray(costs_NK, dtype=float)
    # Unique rows come in lexicographic order: all that beat a row stand before it, with a first column as good. Its
    # front is the one after the last of theirs, so that nothing has to be peeled.
    values_MK, which_N, times_M = np.unique(costs_NK, axis=0, return_inverse=True, return_counts=True)
    usable_M = np.isfinite(values_MK).all(axis=1)
    others_KU, times_U = values_MK[usable_M, 1:].T.copy(), times_M[usable_M]
    rank_U = np.zeros(len(times_U), dtype=int)
    for i in range(1, len(times_U)):
        beaten_by = (others_KU[:, :i] <= others_KU[:, i, None]).all(axis=0)
        rank_U[i] = ((rank_U[:i] + 1) * beaten_by).max()
    if count is not None:
        placed = np.cumsum(np.bincount(rank_U, weights=times_U))
        rank_U = np.minimum(rank_U, np.searchsorted(placed, count) + 1 if count > 0 else 0)
    rank_M = np.full(len(values_MK), rank_U.max(initial=-1) + 1)
    rank_M[usable_M] = rank_U
    return rank_M[which_N.reshape(-1)]


def leaders(costs_NK: np.ndarray, count: int) -> np.ndarray:
    """Indices of the best `count` rows: whole fronts, and of the front that fits in part those that add most volume.

    Rows are added one at a time, each the one that adds most to the volume of those of its front before it. Volumes are
    taken with every column stretched to [0, 1] over all rows and the reference at 1.1, so that the ends of a front
    count as well. Rows with NaN or infinity come last.
    """
    costs_NK = np.asarray(costs_NK, dtype=float)
    rank_N, usable_N = ranks(costs_NK, count), np.isfinite(costs_NK).all(axis=1)
    order: list[int] = []
    for rank in range(rank_N.max(initial=-1) + 1):
        members, room = np.flatnonzero(rank_N == rank), count - len(order)
        if room <= 0:
            break
        if len(members) > room and usable_N[members].all():
            low_K, high_K = costs_NK[usable_N].min(axis=0), costs_NK[usable_N].max(axis=0)
            scaled_MK = (costs_NK[members] - low_K) / np.where(high_K > low_K, high_K - low_K, 1.0)
            members = members[_by_gain(scaled_MK, np.full(costs_NK.shape[1], 1.1), room)]
        order += members[:room].tolist()
    return np.array(order, dtype=int)


def _by_gain(costs_NK: np.ndarray, reference_K: np.ndarray, count: int) -> list[int]:
    """The first `count` in greedy order by volume gained; gains only shrink, so most need no second look."""
    bound_N = np.prod(reference_K - costs_NK, axis=1)
    chosen: list[int] = []
    volume = 0.0
    while len(chosen) < count:
        best = int(np.argmax(bound_N))
        gain = hypervolume(costs_NK[[*chosen, best]], reference_K.tolist()) - volume
        bound_N[best] = gain
        if gain >= bound_N.max() - 1e-12:
            chosen.append(best)
            volume += gain
            bound_N[best] = -np.inf
    return chosen


def hypervolume(costs_NK: np.ndarray, reference_K: Sequence[float]) -> float:
    """Exact volume that the rows dominate up to the reference, by recursive slicing along the last column.

    O(N log N) for two columns, O(N^2 log N) for three (Zitzler's HSO; While et al. 2006).
    """
    costs_NK = np.asarray(costs_NK, dtype=float).reshape(-1, len(reference_K))
    reference = np.asarray(reference_K, dtype=float)
    inside = np.isfinite(costs_NK).all(axis=1) & (costs_NK < reference).all(axis=1)
    return _volume(costs_NK[inside], reference)


def _volume(costs_NK: np.ndarray, reference_K: np.ndarray) -> float:
    if not len(costs_NK):
        return 0.0
    if len(reference_K) == 1:
        return float(reference_K[0] - costs_NK[:, 0].min())
    costs_NK = costs_NK[np.argsort(costs_NK[:, -1], kind="stable")]
    if len(reference_K) == 2:
        best_N = np.minimum.accumulate(costs_NK[:, 0])
        heights_N = np.diff(np.append(costs_NK[:, 1], reference_K[1]))
        return float(((reference_K[0] - best_N) * heights_N).sum())
    volume = 0.0
    heights_N = np.diff(np.append(costs_NK[:, -1], reference_K[-1]))
    for count in np.flatnonzero(heights_N > 0) + 1:
        slab = costs_NK[:count, :-1]
        kept = slab if slab.shape[1] == 2 else slab[non_dominated(slab)]  # in two columns, sorting is cheaper
        volume += float(heights_N[count - 1]) * _volume(kept, reference_K[:-1])
    return volume


def front_indices(values: Values, aim: Aim) -> np.ndarray:
    """Which rows are on the front of a study, cheapest first: they keep its limits, and no other that does beats them.

    Every front that is shown, tested, confirmed or kept comes from here.
    """
    costs_NK = front_costs(values, aim)
    members_M = np.flatnonzero(non_dominated(costs_NK))
    by = [k for k, o in enumerate(aim.objectives) if o.direction == "min"]
    keys = [costs_NK[members_M, k] for k in by] + [
        -costs_NK[members_M, k] for k in range(len(aim.objectives)) if k not in by
    ]
    return members_M[np.lexsort(keys[::-1])]


def front_of(rows: Sequence[TrialRow], aim: Aim) -> list[TrialRow]:
    """The finished configurations on the front of a study, seeds averaged, cheapest first."""
    finished = by_configuration(rows, aim.axes)
    return [finished[i] for i in front_indices(values_of(finished), aim)]
