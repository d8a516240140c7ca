"""Optuna's samplers over a study that is built anew from the history for every draw.

Optuna only ever sees finished trials at their full budget, and running ones; what it knows is a function of what it is
given here, so a resume draws what an undisturbed run would have drawn. A configuration is written in Optuna's names by
asking the search space for it with a trial that answers from the configuration.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from spaces.records.objectives import Objective
from spaces.space.search_space import SearchSpace
from spaces.students.architecture import architecture_of
from spaces.students.transfer import axes_of

POPULATION = 20
"""Small, since trials are dear."""


def tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator that models parameters jointly, per branch of the conditional space."""
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def nsga2(seed: int) -> BaseSampler:
    """Genetic search by non-dominated sorting."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)


def gp(seed: int) -> BaseSampler:
    """Gaussian process with an expected improvement of the hypervolume; quality is noisy."""
    return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)


def random(seed: int) -> BaseSampler:
    """Independent draws: the baseline."""
    return optuna.samplers.RandomSampler(seed=seed)


DRAWING: dict[str, Callable[[int], BaseSampler]] = {"tpe": tpe, "nsga2": nsga2, "gp": gp, "random": random}
"""The samplers that draw; `grid` walks through the space instead."""


def branches(space: SearchSpace) -> list[dict[str, Any]]:
    """Every method, with every name that its own axes list (a mapping): each is tried once before the model takes over.

    A model of a conditional space learns nothing about a branch that random start-up draws happened to miss, and names,
    unlike numbers, say nothing about one another.
    """
    found: list[dict[str, Any]] = []
    for method in space.axes["method"].choices:
        named = [axis.name for axis in axes_of(str(method)) if axis.kind is str]
        choices = itertools.product(*(space.axes[name].choices for name in named))
        found += [{"method": method, **dict(zip(named, values, strict=True))} for values in choices]
    return found


class Fixed(dict[str, Any]):
    """A dictionary that nobody changes, so that the copies that Optuna makes of a trial may share it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Fixed":
        return self


@dataclass
class Written:
    """A configuration under Optuna's names; itself the trial that the space is asked with."""

    values: Mapping[str, Any]
    params: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    trials: dict[tuple[Any, ...], FrozenTrial] = field(default_factory=dict)
    """The trials of Optuna that were made of it: a study copies what it is given."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The value of the axis; names of restricted axes carry their choices behind an @."""
        return self._answer(name, CategoricalDistribution(choices))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """The value of the axis."""
        return self._answer(name, FloatDistribution(low, high, log=log))

    def _answer(self, name: str, distribution: BaseDistribution) -> Any:
        self.params[name], self.distributions[name] = self.values[name.partition("@")[0]], distribution
        return self.params[name]


@dataclass
class Drawn:
    """A trial that answers at random, at a small part of what a draw of Optuna costs."""

    rng: np.random.Generator
    fixed: Mapping[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Any of them, with equal chances, but for what is fixed."""
        fixed = self.fixed.get(name.partition("@")[0])
        self.params[name] = fixed if fixed in choices else choices[int(self.rng.integers(len(choices)))]
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Uniform over the range, or over its logarithm."""
        if log:
            low, high = math.log(low), math.log(high)
        value = float(self.rng.uniform(low, high))
        self.params[name] = math.exp(value) if log else value
        return self.params[name]


def written(space: SearchSpace, config: Mapping[str, Any]) -> Written:
    """A feasible configuration of the space, as a sampler of Optuna would have drawn it."""
    answers = Written({**config, **space.shapes[architecture_of(dict(config))]})
    space.suggest(answers)
    return answers


@dataclass(frozen=True)
class Told:
    """A configuration and what the sampler may know about it."""

    drawn: Written
    values: Sequence[float]
    constraints: Mapping[str, float]
    """Above 0 where a limit is broken."""


def study_of(
    told: Sequence[Told], running: Sequence[Written], objectives: Sequence[Objective], sampler: BaseSampler
) -> optuna.Study:
    """A study that remembers these trials, in this order."""
    study = optuna.create_study(
        directions=["maximize" if o.direction == "max" else "minimize" for o in objectives], sampler=sampler
    )
    generation = optuna.samplers.NSGAIISampler._get_generation_key()
    for number, each in enumerate(told):
        key = (*each.values, *each.constraints.items(), number // POPULATION)
        if key not in each.drawn.trials:
            trial = create_trial(
                values=list(each.values), params=each.drawn.params, distributions=each.drawn.distributions,
                constraints=dict(each.constraints), system_attrs={generation: number // POPULATION},
            )  # fmt: skip
            trial.params, trial.distributions = Fixed(trial.params), Fixed(trial.distributions)
            each.drawn.trials[key] = trial
        study.add_trial(each.drawn.trials[key])
    for live in running:
        study.add_trial(create_trial(state=TrialState.RUNNING, params=live.params, distributions=live.distributions))
    return study


def sampler_of(name: str, seed: Sequence[int], fixed: Mapping[str, Any] | None = None) -> BaseSampler:
    """A freshly seeded sampler; `fixed` holds parameters that it must keep."""
    number = int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = DRAWING[name](number)
        return sampler if fixed is None else optuna.samplers.PartialFixedSampler(dict(fixed), sampler)
