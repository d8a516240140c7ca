"""Which of several results no other result beats. Numbers only: what they mean is the caller's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spaces.records import Objective


def costs_of_rows(rows: Sequence[Mapping[str, Any]], objectives: Sequence[Objective]) -> np.ndarray:
    """(rows, objectives) of numbers to be minimised; what is missing is NaN."""
    values = [[np.nan if row.get(o.column) is None else float(row[o.column]) for o in objectives] for row in rows]
    signs = np.array([-1.0 if o.direction == "max" else 1.0 for o in objectives])
    return np.array(values, dtype=float).reshape(len(rows), len(objectives)) * signs


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


def front_of(rows: Sequence[Mapping[str, Any]], objectives: Sequence[Objective]) -> list[Mapping[str, Any]]:
    """The finished rows on the front, in the order of the first cost."""
    finished = [row for row in rows if row["status"] == "finished"]
    if not finished:
        return []
    mask_N = non_dominated(costs_of_rows(finished, objectives))
    members = [row for row, keep in zip(finished, mask_N, strict=True) if keep]
    column = objectives[-1].column if len(objectives) == 1 else objectives[1].column
    return sorted(members, key=lambda row: row[column])
