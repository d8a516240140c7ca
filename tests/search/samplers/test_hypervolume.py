"""Our sampler in studies of Optuna that know nothing of stillhouse."""

import math
import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from search.samplers.context import Evidence, Seen
from search.samplers.hypervolume import LEAST, HypervolumeSampler
from spaces.records.fronts import hypervolume

optuna.logging.set_verbosity(optuna.logging.WARNING)


def space(trial):
    """Every kind of parameter, and one that only wide networks have."""
    kind = trial.suggest_categorical("kind", ["narrow", "wide"])
    config = {"kind": kind, "layers": trial.suggest_int("layers", 1, 8)}
    config["rate"] = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    config["momentum"] = trial.suggest_float("momentum", 0.0, 0.9, step=0.1)
    if kind == "wide":
        config["expansion"] = trial.suggest_float("expansion", 1.0, 8.0)
    return config


def size(config):
    return config["layers"] * config.get("expansion", 0.5)


def accuracy(config):
    """Depth and width pay less and less; the best rate is 1e-2."""
    off = math.log10(config["rate"]) + 2
    return 1 - 0.5 / size(config) ** 0.5 - 0.1 * off**2 - 0.1 * abs(config["momentum"] - 0.5)


def objective(trial):
    config = space(trial)
    return accuracy(config), size(config)


def known(config):
    return [None, size(config)]


def study_of(sampler, directions=("maximize", "minimize")):
    return optuna.create_study(directions=directions, sampler=sampler)


def volume(study):
    return hypervolume(np.array([[-t.values[0], t.values[1] / 64] for t in study.trials]), [0.0, 1.0])


def ran(sampler, trials=12):
    study = study_of(sampler)
    study.optimize(objective, n_trials=trials)
    return study


def test_what_is_expected_weighs_what_is_promised():
    def deep(configs, observations):
        return np.array([1.0 if config["layers"] >= 6 else 1e-6 for config in configs])

    trials = ran(HypervolumeSampler(space, known=known, prior=deep, seed=0)).trials
    assert sum(trial.params["layers"] >= 6 for trial in trials) >= len(trials) - 1


def test_it_beats_random_draws_and_the_sampler_below_it():
    found = {
        name: [volume(ran(sampler(seed), 30)) for seed in range(3)]
        for name, sampler in {
            "ours": lambda seed: HypervolumeSampler(space, known=known, seed=seed),
            "unknown size": lambda seed: HypervolumeSampler(space, seed=seed),
            "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
            "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
        }.items()
    }
    mean = {name: float(np.mean(volumes)) for name, volumes in found.items()}
    assert mean["ours"] > max(mean["random"], mean["tpe"]), mean
    assert mean["unknown size"] > mean["random"], mean


def test_the_same_seed_asks_the_same():
    first, again, other = (
        [t.params for t in ran(HypervolumeSampler(space, known=known, seed=seed)).trials] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert {"expansion" in params for params in first} == {True, False}
    assert all(("expansion" in params) == (params["kind"] == "wide") for params in first)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_one_objective_either_way(direction):
    sign = 1 if direction == "maximize" else -1
    best = []
    for sampler in (HypervolumeSampler(space, seed=0), optuna.samplers.RandomSampler(seed=0)):
        study = study_of(sampler, [direction])
        study.optimize(lambda trial: sign * accuracy(space(trial)), n_trials=20)
        best.append(sign * study.best_value)
    assert best[0] > best[1]


def test_the_uncertain_objective_may_stand_anywhere_and_known_ones_may_be_maximised():
    """Lightness is the size turned round, so that the two searches are the same."""
    loss_first = study_of(
        HypervolumeSampler(space, known=lambda c: [None, size(c)], span=(1.0, 0.0), reference=[None, 64.0], seed=0),
        ("minimize", "minimize"),
    )
    loss_last = study_of(
        HypervolumeSampler(
            space, uncertain=1, known=lambda c: [64 - size(c), None], span=(1.0, 0.0), reference=[0.0, None], seed=0
        ),
        ("maximize", "minimize"),
    )
    loss_first.optimize(lambda trial: (1 - accuracy(space(trial)), size(space(trial))), n_trials=15)
    loss_last.optimize(lambda trial: (64 - size(space(trial)), 1 - accuracy(space(trial))), n_trials=15)
    assert [trial.params for trial in loss_first.trials[:5]] == [trial.params for trial in loss_last.trials[:5]]
    assert len(loss_first.best_trials) > 4 and len(loss_last.best_trials) > 4


def test_what_breaks_a_constraint_hides_nobody():
    """The model learns from it, but the front is that of the others."""
    sampler = HypervolumeSampler(space, known=known, seed=0)
    study = study_of(sampler)
    for number in range(6):
        trial = study.ask()
        objective(trial)
        trial.set_constraint("latency", 1.0 if number % 2 else -1.0)
        study.tell(trial, objective(trial))
    asked = study.ask()
    evidence = sampler.look(study, study.get_trials()[asked.number])
    assert len(evidence.seen) == 6
    assert list(evidence.front) == [t.values for t in study.trials[:6:2]]


def test_running_trials_are_not_tried_beside_themselves():
    study = ran(HypervolumeSampler(space, known=known, seed=0))
    together = [study.ask() for _ in range(6)]
    configs = [tuple(space(trial).items()) for trial in together]
    assert len(set(configs)) == 6
    assert study.get_trials(states=(TrialState.RUNNING,))[0].params == together[0].params


def test_only_what_is_allowed_is_tried_unless_nothing_is():
    study = ran(HypervolumeSampler(space, known=known, allowed=lambda config: config["layers"] <= 2, seed=0))
    assert all(trial.params["layers"] <= 2 for trial in study.trials)
    assert len(ran(HypervolumeSampler(space, known=known, allowed=lambda config: False, seed=0)).trials) == 12


def test_evidence_from_elsewhere_counts():
    """Values at a tenth of the budget, which no study of Optuna has."""
    configs = [
        {"kind": "narrow", "layers": n, "rate": r, "momentum": 0.5} for n in (2, 4, 8) for r in (1e-3, 1e-2, 1e-1)
    ]
    seen = [Seen(config, 0.1, 0.5 * accuracy(config)) for config in configs]
    assert len(seen) >= LEAST
    study = study_of(HypervolumeSampler(space, known=known, evidence=lambda: Evidence(seen), seed=0))
    asked = [space(study.ask()) for _ in range(10)]
    chance = [space(study_of(optuna.samplers.RandomSampler(seed=n)).ask()) for n in range(10)]

    def off(configs):
        return np.mean([abs(math.log10(config["rate"]) + 2) for config in configs])

    assert off(asked) < off(chance)


def test_a_trial_of_another_space_is_left_out():
    study = ran(HypervolumeSampler(space, known=known, seed=0))
    study.enqueue_trial({"layers": 3})
    study.enqueue_trial({"kind": "narrow", "layers": 2, "rate": 1e-2, "momentum": 0.5})
    study.optimize(objective, n_trials=2)
    assert study.trials[-2].params["layers"] == 3 and study.trials[-1].params["rate"] == 1e-2
    other = study_of(HypervolumeSampler(space, known=known, seed=0))
    for trial in study.trials:
        other.add_trial(trial)
    other.optimize(lambda trial: (trial.suggest_float("else", 0, 1), 1.0), n_trials=1)
    other.optimize(objective, n_trials=2)
    assert len(other.trials) == len(study.trials) + 3


def test_parallel_threads():
    study = study_of(HypervolumeSampler(space, known=known, seed=0))
    study.optimize(objective, n_trials=12, n_jobs=3)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 12


@pytest.mark.parametrize("options", [{"uncertain": 2}, {"candidates": 0}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(
        ValueError, match=r"uncertain is 2, but the study has 2 objectives|candidates must be at least 1"
    ):
        ran(HypervolumeSampler(space, **options), 1)


EXAMPLE = """
import sys
import optuna
from search.samplers.hypervolume import HypervolumeSampler

def space(trial):
    kind = trial.suggest_categorical("kind", ["narrow", "wide"])
    config = {"kind": kind, "layers": trial.suggest_int("layers", 1, 8)}
    if kind == "wide":
        config["expansion"] = trial.suggest_float("expansion", 1.0, 8.0, log=True)
    return config

def size(config):
    return config["layers"] * config.get("expansion", 0.5)

study = optuna.create_study(
    directions=["maximize", "minimize"],
    sampler=HypervolumeSampler(space, known=lambda config: [None, size(config)], seed=1),
)
study.optimize(lambda trial: (1 - 1 / size(space(trial)), size(space(trial))), n_trials=8)
assert len(study.best_trials) > 1
heavy = {"torch", "ray", "transformers", "trainables"} & {name.partition(".")[0] for name in sys.modules}
assert not heavy, heavy
"""


def test_a_study_of_optuna_alone_loads_neither_torch_nor_ray():
    done = subprocess.run([sys.executable, "-c", EXAMPLE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
