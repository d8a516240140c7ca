"""Rungs: who goes on, who stops, who is promoted."""

import numpy as np
import pytest

from search.proposals.rungs import COMPARED, Rungs, rung_tokens


def test_rungs_are_spaced_by_the_factor():
    assert rung_tokens(100, 3, 1000) == (100, 300, 900)
    assert rung_tokens(100, 2, 400) == (100, 200)
    assert rung_tokens(None, 2, 400) == rung_tokens(400, 2, 400) == ()
    rungs = Rungs((100, 300), 3, 0)
    assert [rungs.level(tokens) for tokens in (99, 100, 299, 300, 999)] == [0, 1, 1, 2, 2]


def reach(rungs, trial, quality, size, method="hs", level=1):
    rungs.reach(trial, level, method, (-quality, size))
    return rungs.judge(trial, level)


def test_a_dominated_trial_stops_and_a_new_kind_of_best_goes_on():
    rungs = Rungs((1000,), 2, 0)
    assert reach(rungs, 0, 0.5, 10) == ""  # the first has nobody to be compared with
    assert reach(rungs, 1, 0.4, 20) == "stopped at rung 1 (1,000 tokens): not among the best 1 of 2 trials there"
    assert reach(rungs, 2, 0.3, 5) == ""  # worse, but smaller than all
    assert reach(rungs, 3, 0.2, 30) != ""
    assert reach(rungs, 4, 0.9, 40) == ""


def test_with_one_objective_it_is_successive_halving():
    rng = np.random.default_rng(0)
    rungs, qualities, factor = Rungs((1,), 3, 0), [], 3
    for trial, quality in enumerate(rng.random(60)):
        qualities.append(quality)
        rungs.reach(trial, 1, "hs", (-quality,))
        place = sorted(qualities, reverse=True).index(quality)
        assert (rungs.judge(trial, 1) == "") == (place < -(-len(qualities) // factor))


def test_the_first_of_each_method_pass():
    rungs = Rungs((1000,), 2, 2)
    verdicts = [
        reach(rungs, n, q, 10, m) for n, (q, m) in enumerate([(0.9, "hs"), (0.8, "hs"), (0.1, "od"), (0.2, "od")])
    ]
    assert verdicts == [""] * 4
    assert reach(rungs, 4, 0.15, 10, "od") != "" and reach(rungs, 5, 0.05, 10, "hs") != ""


def test_a_stopped_trial_is_promoted_when_its_rung_has_grown():
    rungs = Rungs((1000, 3000), 3, 0)
    reach(rungs, 0, 0.9, 10)
    assert reach(rungs, 1, 0.8, 10) != "" and rungs.promotable() is None
    for trial in range(2, 5):
        assert reach(rungs, trial, 0.1 + trial / 100, 10) != ""
    assert rungs.promotable() == 1  # second of five, and two may pass
    rungs.go_on(1)
    assert rungs.promotable() is None
    assert not rungs.has_reached(1, 2)
    assert reach(rungs, 1, 0.85, 10, level=2) == ""
    assert rungs.has_reached(1, 1) and rungs.has_reached(1, 2)


def test_promotion_looks_at_the_highest_rung_first():
    rungs = Rungs((1, 3), 2, 0)
    for trial, quality in enumerate([0.5, 0.4, 0.3]):
        rungs.reach(trial, 1, "hs", (-quality, 1.0))
        rungs.reach(trial + 10, 2, "hs", (-quality, 1.0))
        rungs.stop(trial, 1)
        rungs.stop(trial + 10, 2)
    assert rungs.promotable() == 10


def test_a_cost_that_only_some_have_ranks_nobody():
    rungs = Rungs((1,), 2, 0)
    rungs.reach(0, 1, "hs", (-0.5, float("nan")))
    rungs.reach(1, 1, "hs", (-0.6, 5.0))
    assert rungs.judge(1, 1) == "" and "the best 1 of 2" in rungs.judge(0, 1)


def test_only_the_latest_are_compared():
    rungs = Rungs((1,), 2, 0)
    for trial in range(COMPARED):
        rungs.reach(trial, 1, "hs", (-0.9, 1.0))
    for trial in range(COMPARED, 2 * COMPARED):
        rungs.reach(trial, 1, "hs", (-0.1, 1.0))
    assert rungs.compared(1) == list(range(COMPARED, 2 * COMPARED))
    assert len(rungs.leaders(1)) == COMPARED // 2


@pytest.mark.parametrize("seed", range(5))
def test_decisions_depend_on_the_history_alone(seed):
    """Rungs rebuilt from who reached what and who stopped where say the same as those that lived through it."""
    rng = np.random.default_rng(seed)
    rungs, history = Rungs((1,), 3, 1), []
    for trial in range(30):
        costs = (-rng.random(), float(rng.integers(1, 5)))
        method = str(rng.choice(["hs", "od"]))
        again = Rungs((1,), 3, 1)
        for number, entry in history:
            again.reach(number, 1, entry.method, entry.costs)
        for number, entry in history:
            if entry.stopped:
                again.stop(number, 1)
        for each in (rungs, again):
            each.reach(trial, 1, method, costs)
        assert again.promotable() == rungs.promotable()
        assert again.judge(trial, 1) == rungs.judge(trial, 1)
        history.append((trial, rungs.entries[0][trial]))
