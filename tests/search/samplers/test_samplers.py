"""The contract of a sampler, held by every entry of SAMPLERS."""

from functools import cache

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.samplers import drawing
from search.samplers.answers import Answers, at_random
from search.samplers.context import Context, Evidence, Seen
from search.samplers.registry import SAMPLERS
from spaces.records.fronts import hypervolume

optuna.logging.set_verbosity(optuna.logging.WARNING)
BETTER_THAN_CHANCE = {"tpe"}
"""Samplers that say so for 30 trials; with the model, all do."""


def space(trial):
    """Conditional, with an axis whose legal values depend on another one."""
    config = {"method": trial.suggest_categorical("method", ["a", "b"])}
    config["width"] = trial.suggest_categorical("width", [4, 8, 16, 32])
    config["rate"] = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    if config["method"] == "b":
        legal = [heads for heads in (2, 4, 8) if heads <= config["width"]]
        config["heads"] = trial.suggest_categorical(f"heads@{legal}", legal)
    return config


def quality(config):
    right = {"a": 0.1, "b": 0.3}[config["method"]] - 0.02 * abs(config.get("heads", 4) - 4)
    return right + 0.5 - 1 / config["width"] - 0.1 * (np.log10(config["rate"]) + 2) ** 2


def inside(config):
    assert space(Answers(lambda name, distribution: config[name.partition("@")[0]])) == config


def told(answers, values, **more):
    return create_trial(values=values, params=answers.params, distributions=answers.distributions, **more)


def draw(name, trials, seed=0, candidates=1, fixed=None, allowed=lambda config: True):
    """What a sampler asks for after these trials: a configuration, and the trial that has it."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials(trials)
    evidence = Evidence(
        [Seen(space(optuna.trial.FixedTrial(t.params)), 1.0, t.values[0]) for t in trials if t.values],
        [space(optuna.trial.FixedTrial(t.params)) for t in trials if t.state is TrialState.RUNNING],
        [t.values for t in trials if t.values],
    )
    context = Context(
        space, lambda config: [None, config["width"]], allowed, lambda: evidence, [None, 32], candidates, fixed or {}
    )
    study.sampler = drawing.sampler_of(name, (seed, len(trials)), context)
    trial = study.ask()
    config = space(trial)
    inside(config)
    return config, trial


def search(name, seed, trials=30, candidates=1):
    """Volume of the front that a sampler finds."""
    history = []
    for _ in range(trials):
        config, trial = draw(name, history, seed, candidates)
        history.append(told(trial, [quality(config), config["width"]]))
    return hypervolume(np.array([[-t.values[0], t.values[1] / 32] for t in history]), [0.0, 1.01])


@cache
def chance():
    """What random draws find, the mean of four searches."""
    return np.mean([search("random", seed) for seed in range(4)])


def at_chance(count, seed=0):
    """Trials drawn at random, some of which break a constraint, or failed; qualities repeat."""
    rng, trials = np.random.default_rng(seed), []
    for number in range(count):
        answers = Answers(at_random(rng))
        config = space(answers)
        if number % 10 == 9:
            trials.append(told(answers, None, state=TrialState.FAIL))
            continue
        limit = {"latency_ms": 1.0 if number % 3 == 0 else -1.0}
        trials.append(told(answers, [round(quality(config), 1), config["width"]], constraints=limit))
    return trials


@pytest.mark.parametrize("candidates", [1, 4])
@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_are_a_function_of_history_and_seed(name, candidates):
    for count in (0, 3, 30):
        trials = at_chance(count)
        first, again, other = (draw(name, trials, seed, candidates)[0] for seed in (1, 1, 2))
        assert first == again != other


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_hundred_trials_never_crash_it(name):
    trials = at_chance(100)
    draw(name, trials)
    draw(name, trials, candidates=8)


@pytest.mark.parametrize("name", SAMPLERS)
def test_trials_that_run_are_considered(name):
    """Half-way through a study, with more running than finished, the first of them drawn at random; none is asked for
    again."""
    trials, running = at_chance(8), []
    for number in range(11):
        tried = [space(optuna.trial.FixedTrial(t.params)) for t in running]
        drawn_by = name if number > 8 else "random"
        config, trial = draw(
            drawn_by, [*trials, *running], number, 8, allowed=lambda config, tried=tried: config not in tried
        )
        assert config not in tried
        running.append(create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions))


@pytest.mark.parametrize("name", SAMPLERS)
def test_settled_axes_are_kept(name):
    config, _ = draw(name, at_chance(30), candidates=1, fixed={"method": "b", "width": 8})
    assert (config["method"], config["width"]) == ("b", 8)


@pytest.mark.parametrize("name", SAMPLERS)
def test_it_beats_chance_where_it_claims_to(name):
    if name in BETTER_THAN_CHANCE:
        assert np.mean([search(name, seed) for seed in range(4)]) > chance()
    if name != "gp":  # slow, and its draw is one of eight
        assert np.mean([search(name, seed, candidates=8) for seed in range(4)]) > chance()
