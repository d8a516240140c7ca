"""Fronts and volumes against closed forms and slow oracles; picks against their rules."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.selection.front import aim, front, hypervolume, hypervolume_history, knee
from analysis.selection.picking import pick
from spaces.errors import SpecError, StillhouseError
from spaces.records.fronts import non_dominated


def slow_non_dominated(costs: np.ndarray) -> list[bool]:
    """By the definition; of equal rows the first."""
    kept = []
    for i, row in enumerate(costs):
        beaten = any((other <= row).all() and (other < row).any() for other in costs)
        repeated = any((other == row).all() for other in costs[:i])
        kept.append(bool(np.isfinite(row).all()) and not beaten and not repeated)
    return kept


def slow_volume(costs: np.ndarray, reference: list[float]) -> float:
    """Inclusion-exclusion over all subsets of boxes."""
    total = 0.0
    for size in range(1, len(costs) + 1):
        for rows in itertools.combinations(costs, size):
            sides = np.clip(np.array(reference) - np.max(rows, axis=0), 0, None)
            total += (-1) ** (size + 1) * float(sides.prod())
    return total


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_non_dominated_agrees_with_the_definition(columns: int, seed: int) -> None:
    costs = np.random.default_rng(seed).integers(0, 6, (60, columns)).astype(float)
    costs[::13, 0] = np.nan
    assert non_dominated(costs).tolist() == slow_non_dominated(costs)


def test_ties_count_once_and_unmeasured_rows_never() -> None:
    costs = np.array([[1, 1], [1, 1], [np.nan, 0], [0, 2], [np.inf, -1], [2, 2]])
    assert non_dominated(costs).tolist() == [True, False, False, True, False, False]
    assert non_dominated(np.empty((0, 2))).tolist() == []


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_staircase_volume(n: int) -> None:
    stairs = np.stack([np.arange(n), np.arange(n)[::-1]], axis=1)
    assert hypervolume(stairs, (n, n)) == n * (n + 1) / 2
    cube = np.column_stack([stairs, np.zeros(n)])
    assert hypervolume(cube, (n, n, 3)) == pytest.approx(3 * n * (n + 1) / 2)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_volume_agrees_with_inclusion_exclusion(columns: int, seed: int) -> None:
    costs = np.random.default_rng([seed, columns]).integers(0, 5, (9, columns)) / 4
    reference = [0.9] * columns
    assert hypervolume(costs, reference) == pytest.approx(slow_volume(costs, reference))


def test_volume_of_nothing_and_of_what_lies_outside_is_zero() -> None:
    assert hypervolume(np.empty((0, 2)), (1, 1)) == 0
    assert hypervolume(np.array([[1.0, 0.0], [2.0, -5.0], [np.nan, 0.0]]), (1, 1)) == 0
    assert hypervolume(np.array([[0.25, 0.5]]), (1, 1)) == pytest.approx(0.375)


def test_front_is_sorted_by_cost_and_follows_the_objectives(fake: SimpleNamespace) -> None:
    rows = [
        fake.row(0, 0.9, (6, 384)),
        fake.row(1, 0.5, (3, 192)),
        fake.row(2, 0.4, (3, 192)),
        fake.row(3, 0.7, (4, 256), latency_p50_ms=99.0),
        fake.row(4, float("nan"), (2, 128)),
        {"trial": 5, "status": "failed", "reason": "diverged", "quality": 1.0, "parameters": 1},
    ]
    study = load(fake.study(rows))
    assert front(study)["trial"].tolist() == [1, 3, 0]
    assert front(study, ["quality", "latency_ms"])["trial"].tolist() == [1, 0]
    assert front(study, ["quality"])["trial"].tolist() == [0]
    with pytest.raises(SpecError, match="Did you mean 'latency_ms'"):
        front(study, ["quality", "latency"])


def test_knee_lies_where_the_curve_bends(fake: SimpleNamespace) -> None:
    rows = [
        fake.row(trial, quality, parameters=cost)
        for trial, (quality, cost) in enumerate([(0.1, 1_000), (0.8, 2_000), (0.85, 6_000), (0.9, 10_000)])
    ]
    study = load(fake.study(rows))
    members = front(study)
    assert members.iloc[knee(members, aim(study).objectives)]["trial"] == 1
    assert knee(members.iloc[:1], aim(study).objectives) == 0
    assert knee(members.iloc[[0, 3]], aim(study).objectives) == 1  # both ends tie: quality decides


def test_costs_that_rise_together_do_not_outvote_quality(fake: SimpleNamespace) -> None:
    costs = [(0.1, 1.0), (0.7, 5.5), (0.9, 10.0)]
    rows = [
        fake.row(t, q, parameters=int(c * 1e6), latency_p50_ms=c, flops_per_token=int(c * 1e6))
        for t, (q, c) in enumerate(costs)
    ]
    for names in (["quality", "parameters"], ["quality", "parameters", "latency_ms", "flops"]):
        study = load(fake.study(rows, objectives=names))
        members = front(study)
        assert members.iloc[knee(members, aim(study).objectives)]["trial"] == 1


def test_hypervolume_history_is_the_volume_of_each_prefix(fake: SimpleNamespace) -> None:
    study = load(fake.study(fake.rows(40), objectives=["quality", "parameters", "latency_ms"]))
    history = hypervolume_history(study)
    done = study.finished
    teacher = fake.teacher["costs"]
    shares = np.stack(
        [
            -done["quality"],
            done["parameters"] / teacher["parameters"],
            done["latency_p50_ms"] / teacher["latency_p50_ms"],
        ],
        axis=1,
    )
    expected = [hypervolume(shares[: i + 1], (0, 1, 1)) for i in range(len(shares))]
    assert history["hypervolume"].to_numpy() == pytest.approx(expected)
    assert history["hypervolume"].is_monotonic_increasing and 0 < expected[-1] < 1


def test_the_history_counts_a_student_in_each_precision(fake: SimpleNamespace) -> None:
    rows = [fake.row(trial, quality, precision="fp32") for trial, quality in ((0, 0.5), (2, 0.7))]
    small = [
        row | {"trial": row["trial"] + 1, "status": "variant", "of_trial": row["trial"], "precision": "int8"}
        | {"latency_p50_ms": 0.5 * row["latency_p50_ms"], "quality": row["quality"] - 0.1}
        for row in rows
    ]  # fmt: skip
    folder = fake.study([*rows, *small], objectives=["quality", "latency_ms"])
    history = hypervolume_history(load(folder))
    assert history["trial"].tolist() == [0, 2] and history["finished"].tolist() == [1, 2]
    share = rows[0]["latency_p50_ms"] / fake.teacher["costs"]["latency_p50_ms"]
    volumes = [slow_volume(np.array([[-q, share], [0.1 - q, share / 2]]), [0.0, 1.0]) for q in (0.5, 0.7)]
    assert history["hypervolume"].to_numpy() == pytest.approx(volumes)


@pytest.fixture
def ladder(fake: SimpleNamespace) -> str:
    """Four students: the better, the dearer."""
    qualities = {0: (0.3, 4e6, 2.0), 1: (0.6, 7e6, 6.0), 2: (0.85, 11e6, 11.0), 3: (0.97, 17e6, 18.0)}
    return fake.study([fake.row(t, q, parameters=int(p), latency_p50_ms=ms) for t, (q, p, ms) in qualities.items()])


@pytest.mark.parametrize(
    ("budget", "trial", "runner_up"),
    [
        ({"max_parameters": 12e6}, 2, 1),
        ({"max_latency_ms": 6.0}, 1, 0),
        ({"max_parameters": 4e6}, 0, None),
        ({"min_quality": 0.5}, 1, 2),
        ({"min_quality": 0.9}, 3, None),
        ({"min_quality": 0.8}, 2, 3),
        ({"max_latency_ms": 12.0, "min_quality": 0.5}, 2, 1),
    ],
)
def test_pick_under_a_budget(ladder: str, budget: dict[str, float], trial: int, runner_up: int | None) -> None:
    picked = pick(load(ladder), **budget)
    assert picked.trial["trial"] == trial
    assert (None if picked.runner_up is None else picked.runner_up["trial"]) == runner_up
    assert "of 4 finished students" in picked.reason


def test_pick_without_a_budget_is_the_knee(ladder: str) -> None:
    study = load(ladder)
    picked = pick(study)
    members = front(study)
    assert picked.trial["trial"] == members.iloc[knee(members, aim(study).objectives)]["trial"]
    assert picked.runner_up is not None and "knee of the front of quality and parameters (4 students)" in picked.reason


def test_pick_says_what_is_nearest_when_nothing_fits(ladder: str, fake: SimpleNamespace) -> None:
    study = load(ladder)
    with pytest.raises(StillhouseError, match="at most 1,000,000 parameters; the nearest is trial 0 with 4,000,000"):
        pick(study, max_parameters=1_000_000)
    with pytest.raises(StillhouseError, match=r"quality of at least 0\.99; the nearest is trial 3 with 0\.97"):
        pick(study, min_quality=0.99)
    with pytest.raises(StillhouseError, match="relax one"):
        pick(study, max_latency_ms=3.0, min_quality=0.9)


def test_pick_from_nothing_is_refused(fake: SimpleNamespace) -> None:
    with pytest.raises(StillhouseError, match="no finished trial to pick from"):
        pick(load(fake.study([{"trial": 0, "status": "failed", "reason": "diverged"}])))


def test_a_study_keeps_its_limits_unless_told_otherwise(ladder: str, fake: SimpleNamespace) -> None:
    rows = [
        {name: None if pd.isna(value) else value for name, value in row.items() if name != "architecture"}
        for row in load(ladder).trials.to_dict("records")
    ]
    study = load(fake.study(rows, constraints={"latency_ms": 11.0, "parameters": 9e6}))
    assert front(study)["trial"].tolist() == [0, 1]
    assert pick(study, min_quality=0.5).trial["trial"] == 1
    assert pick(study, max_latency_ms=100).trial["trial"] == 1
    assert pick(study, max_parameters=100e6).trial["trial"] == 2
    with pytest.raises(StillhouseError, match=r"quality of at least 0\.8; the nearest is trial 1"):
        pick(study, min_quality=0.8)
    last = hypervolume_history(study)["hypervolume"]
    assert last.iloc[2] == last.iloc[3] == last.iloc[1] > last.iloc[0]


def test_a_start_has_no_seeds_and_so_none_of_their_noise(fake: SimpleNamespace) -> None:
    seeds = [fake.row(0, 0.5), fake.row(1, 0.6, seed=1, learning_rate=1e-3)]  # the noise of the study: 0.07
    starts = [fake.row(t, q, shape, method="untrained", parameters=p)
              for t, q, shape, p in ((2, 0.52, (2, 128), 1e6), (3, 0.6, (4, 256), 2e6))]  # fmt: skip
    study = load(fake.study([*seeds, *starts]))
    assert study.noise.known and study.students.set_index("trial").loc[3, ["low", "high"]].tolist() == [0.6, 0.6]
    assert front(study).set_index("trial")["rivals"].to_dict() == {2: 0, 3: 0}
    assert pick(study, max_parameters=1e9).trial["trial"] == 3  # not the one with seeds, which noise could explain
