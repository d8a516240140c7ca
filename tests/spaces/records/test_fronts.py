"""The front against its definition."""

from dataclasses import replace

import numpy as np
import pytest

from spaces.errors import SpecError
from spaces.records.fronts import by_configuration, front_of, hypervolume, leaders, non_dominated, ranks
from spaces.records.objectives import aim_of
from spaces.records.rows import TrialRow

BOTH = aim_of(["quality", "parameters"], {})


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


def peeled(costs_NK):
    """The fronts one after the other, equal rows together."""
    left, rank_N, level = np.isfinite(costs_NK).all(axis=1), np.zeros(len(costs_NK), dtype=int), 0
    while left.any():
        rows = [i for i in np.flatnonzero(left)]
        front = [
            i for i in rows
            if not any((costs_NK[j] <= costs_NK[i]).all() and (costs_NK[j] < costs_NK[i]).any() for j in rows)
        ]  # fmt: skip
        rank_N[front], left[front], level = level, False, level + 1
    rank_N[~np.isfinite(costs_NK).all(axis=1)] = level
    return rank_N


@pytest.mark.parametrize("seed", range(12))
def test_ranks_and_leaders_against_the_definition(seed):
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 6, (int(rng.integers(1, 40)), int(rng.integers(1, 4)))).astype(float)
    costs[rng.random(costs.shape) < 0.03] = np.nan
    expected = peeled(costs)
    assert ranks(costs).tolist() == expected.tolist()
    for count in (0, 1, len(costs) // 3, len(costs)):
        chosen = leaders(costs, count)
        assert len(set(chosen.tolist())) == len(chosen) == count
        assert sorted(expected[chosen]) == sorted(expected)[:count]  # no better front is left out
        assert (ranks(costs, count)[chosen] == expected[chosen]).all()


@pytest.mark.parametrize("seed", range(4))
def test_of_a_front_that_fits_in_part_each_next_leader_adds_most(seed):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, np.pi / 2, (12, 2))
    costs = -np.column_stack([np.cos(angle[:, 0]), np.sin(angle[:, 0]) * np.cos(angle[:, 1]), np.sin(angle).prod(1)])
    costs = costs[non_dominated(costs)]
    scaled = (costs - costs.min(axis=0)) / np.ptp(costs, axis=0)
    chosen: list[int] = []
    for _ in range(5):
        volumes = [hypervolume(scaled[[*chosen, i]], [1.1] * 3) if i not in chosen else -1.0 for i in range(len(costs))]
        chosen.append(int(np.argmax(volumes)))
    assert leaders(costs, 5).tolist() == chosen


def row_of(**columns):
    return TrialRow.from_columns({"config_hash": "", "seed": 0, "status": "finished", **columns})


def test_rows():
    rows = [
        row_of(trial=0, method="a", quality=0.5, parameters=10),
        row_of(trial=1, method="b", quality=0.4, parameters=20),
        row_of(trial=2, method="c", quality=0.9, parameters=30),
        row_of(trial=3, status="failed", method="d", quality=1.0, parameters=1),
        row_of(trial=4, method="e", quality=None, parameters=1),
    ]
    members = front_of(rows, BOTH)
    assert [row.trial for row in members] == [0, 2]
    assert [row.trial for row in front_of(rows, aim_of(["quality"], {}))] == [2]
    assert front_of([], aim_of(["quality"], {})) == []


def test_limits_keep_rows_off_the_front():
    rows = [
        row_of(trial=trial, method=str(trial), quality=quality, latency_p50_ms=ms)
        for trial, (quality, ms) in enumerate([(0.9, 9.0), (0.8, 4.0), (0.8, 3.0), (0.95, None), (0.1, 1.0)])
    ]
    assert [row.trial for row in front_of(rows, aim_of(["quality"], {"latency_ms": 4.0}))] == [1]
    assert [row.trial for row in front_of(rows, aim_of(["quality", "latency_ms"], {"latency_ms": 4.0}))] == [4, 2]
    assert aim_of(["quality"], {"latency_ms": 4, "parameters": 15e6}).limits_text == (
        "latency_ms <= 4, parameters <= 15,000,000"
    )
    with pytest.raises(SpecError, match=r"unknown cost 'latency'.* Did you mean 'latency_ms'"):
        aim_of(["quality"], {"latency": 4.0})


def test_seeds_of_a_configuration_are_one_row():
    rows = [
        row_of(trial=5, method="a", seed=1, quality=0.1, parameters=10),
        row_of(trial=0, method="a", seed=0, quality=0.9, parameters=10),
        row_of(trial=1, method="b", seed=0, quality=0.6, parameters=10),
    ]
    assert [(row.trial, row.quality) for row in by_configuration(rows)] == [(0, 0.5), (1, 0.6)]
    assert [row.trial for row in front_of(rows, BOTH)] == [1]


def test_an_axis_of_the_study_makes_another_configuration():
    row = row_of(trial=0, method="a", seed=0, quality=0.5, parameters=10, depth=1)
    rows = [row, replace(row, trial=1, config={"method": "a", "depth": 2}, quality=0.9)]
    assert [row.trial for row in by_configuration(rows)] == [0]
    assert [row.trial for row in by_configuration(rows, ["depth"])] == [0, 1]
    assert [row.trial for row in front_of(rows, aim_of(["quality", "parameters"], {}, ["depth"]))] == [1]


def test_seeds_of_one_configuration_are_averaged_in_both_qualities():
    row = row_of(trial=0, method="hs", quality=0.4, worst_language_quality=0.1, seed=0)
    other = replace(row, trial=1, seed=1, quality=0.6, worst_language_quality=0.3)
    assert by_configuration([other, row]) == [replace(row, quality=0.5, worst_language_quality=pytest.approx(0.2))]
    plain = replace(row, worst_language_quality=None)
    assert by_configuration([plain]) == [plain]
