"""The front against its definition."""

import numpy as np
import pytest

from spaces.dominance import by_configuration, front_of, non_dominated
from spaces.records import OBJECTIVES


def slow(costs_NK):
    """Every row against every other."""
    keep = []
    for i, row in enumerate(costs_NK):
        beaten = any((o <= row).all() and (o < row).any() for o in costs_NK if np.isfinite(o).all())
        repeated = any((costs_NK[j] == row).all() for j in range(i))
        keep.append(bool(np.isfinite(row).all()) and not beaten and not repeated)
    return np.array(keep, dtype=bool)


@pytest.mark.parametrize("seed", range(20))
def test_against_the_definition(seed):
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 5, (rng.integers(0, 40), rng.integers(1, 4))).astype(float)
    costs[rng.random(costs.shape) < 0.05] = np.nan
    assert non_dominated(costs).tolist() == slow(costs).tolist()


def test_rows():
    rows = [
        {"trial": 0, "status": "finished", "method": "a", "quality": 0.5, "parameters": 10},
        {"trial": 1, "status": "finished", "method": "b", "quality": 0.4, "parameters": 20},
        {"trial": 2, "status": "finished", "method": "c", "quality": 0.9, "parameters": 30},
        {"trial": 3, "status": "failed", "method": "d", "quality": 1.0, "parameters": 1},
        {"trial": 4, "status": "finished", "method": "e", "quality": None, "parameters": 1},
    ]
    members = front_of(rows, [OBJECTIVES["quality"], OBJECTIVES["parameters"]])
    assert [row["trial"] for row in members] == [0, 2]
    assert [row["trial"] for row in front_of(rows, [OBJECTIVES["quality"]])] == [2]
    assert front_of([], [OBJECTIVES["quality"]]) == []


def test_seeds_of_a_configuration_are_one_row():
    rows = [
        {"trial": 5, "status": "finished", "method": "a", "seed": 1, "quality": 0.1, "parameters": 10},
        {"trial": 0, "status": "finished", "method": "a", "seed": 0, "quality": 0.9, "parameters": 10},
        {"trial": 1, "status": "finished", "method": "b", "seed": 0, "quality": 0.6, "parameters": 10},
    ]
    assert [(row["trial"], row["quality"]) for row in by_configuration(rows)] == [(0, 0.5), (1, 0.6)]
    assert [row["trial"] for row in front_of(rows, [OBJECTIVES["quality"], OBJECTIVES["parameters"]])] == [1]
