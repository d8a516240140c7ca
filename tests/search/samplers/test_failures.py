"""The chance that a configuration comes to an end, by hand and in searches."""

import logging
import math

import numpy as np
import optuna
import pytest

from search.samplers.hypervolume import HypervolumeSampler
from search.samplers.surrogate import FAILURES_NOISE, FAILURES_REACH, chances

WIDE, NARROW, OTHER = ({"kind": kind, "layers": layers} for kind, layers in (("wide", 2), ("narrow", 2), ("narrow", 8)))


def like(a, b):
    """Both axes, the kind and the place of the depth between 2 and 8, for all configurations above."""
    apart = [float(a["kind"] != b["kind"]), (math.log(a["layers"] / b["layers"]) / math.log(4)) ** 2]
    alone = sum(math.exp(-2 * each) for each in apart) / 2
    return 0.5 + alone + 0.5 * math.exp(-sum(apart) / FAILURES_REACH)


def test_one_failure_says_the_more_the_nearer_it_is():
    found = chances([WIDE, NARROW, OTHER], [], [WIDE])
    assert found == pytest.approx([1 - like(WIDE, each) / (2 + FAILURES_NOISE) for each in (WIDE, NARROW, OTHER)])
    assert found[0] < found[1] < found[2] < 1.0
    assert (chances([WIDE, NARROW], [WIDE], []) == 1.0).all()


def test_what_ended_nearby_counts_against_what_failed():
    """Two observations, solved by hand."""
    a, b = 2 + FAILURES_NOISE, like(NARROW, WIDE)
    weights = [-b / (a * a - b * b), a / (a * a - b * b)]  # of (0, 1), by the inverse of [[a, b], [b, a]]
    expected = [1 - weights[0] * like(NARROW, each) - weights[1] * like(WIDE, each) for each in (WIDE, NARROW, OTHER)]
    found = chances([WIDE, NARROW, OTHER], [NARROW], [WIDE])
    assert found == pytest.approx(np.clip(expected, 0.001, 1.0))
    assert found[1] > chances([NARROW], [], [WIDE])[0]


def test_what_always_fails_is_left_something():
    assert chances([WIDE], [], 50 * [WIDE]) == pytest.approx([0.001], abs=0.005)
    assert (chances([WIDE], [], 50 * [WIDE]) >= 0.001).all()


@pytest.mark.parametrize("name", ["kind", "rate"])
def test_what_always_fails_is_left_for_what_promises_less(name, caplog):
    """A part of the space fails, the part that its model would like best; nothing else says so."""
    caplog.set_level(logging.CRITICAL, "optuna")

    def space(trial):
        return {
            "kind": trial.suggest_categorical("kind", ["works", "fails"]),
            "layers": trial.suggest_int("layers", 1, 8),
            "rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
        }

    def objective(trial):
        config = space(trial)
        if config["kind"] == "fails" if name == "kind" else config["rate"] > 10**-2.5:
            raise ArithmeticError
        return 1 - 0.5 / config["layers"] ** 0.5 - 0.1 * (math.log10(config["rate"]) + 2) ** 2, known(config)[1]

    def known(config):
        return [None, config["layers"] * (0.5 if config["kind"] == "fails" else 1.0)]  # half the size: tempting

    failed = []
    for seed in range(3):
        study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=HypervolumeSampler(space, known=known, seed=seed)
        )
        study.optimize(objective, n_trials=24, catch=ArithmeticError)
        failed.append([trial.state is optuna.trial.TrialState.FAIL for trial in study.trials])
    assert 0 < np.mean(failed, axis=0)[12:].mean() < 0.75  # 0.97 without the chance (tests/bench/failing.py)
