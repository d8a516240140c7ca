"""A trial that is answered by a function: what a define-by-run space is asked with when Optuna is not to remember it.

It draws candidates at random, and writes a known configuration under the names that Optuna knows it by.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

COMPLETING = 200
"""Draws after which a space is taken to have no configuration with given values."""
Answer = Callable[[str, BaseDistribution], Any]
"""(name, distribution) -> the value of a parameter."""


class Answers:
    """Has the three `suggest_` methods of `optuna.Trial`; keeps what was asked and answered."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        return self._suggest(name, CategoricalDistribution(choices))

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> Any:
        """A number of a range, both ends included."""
        return self._suggest(name, FloatDistribution(low, high, log=log, step=step))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        """A whole number of a range, both ends included."""
        return self._suggest(name, IntDistribution(low, high, log=log, step=step))

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            only = distribution.single()
            self.params[name] = only_value(distribution) if only else self.answer(name, distribution)
            self.distributions[name] = distribution
        return self.params[name]


class Within:
    """A trial in which some axes are settled; it passes on what is asked about the others."""

    def __init__(self, trial: Any, settled: Mapping[str, Any]) -> None:
        self.trial, self.settled = trial, settled
        self.used: set[str] = set()
        """Settled axes that were asked about, and had a legal value."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The settled value, where it is one of the choices."""
        value = self.settled.get(axis_of(name))
        if value not in choices:
            return self.trial.suggest_categorical(name, choices)
        self.used.add(axis_of(name))
        return value

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """The settled value, where it is within the range."""
        value = self.settled.get(axis_of(name))
        if value is None or not low <= value <= high:
            return self.trial.suggest_float(name, low, high, log=log)
        self.used.add(axis_of(name))
        return float(value)


def completed(space: Any, given: Mapping[str, Any], seed: int) -> dict[str, Any] | None:
    """A configuration of a `SearchSpace` with these values of its axes, the others drawn; None when it has none."""
    rng = np.random.default_rng([seed])
    for _ in range(COMPLETING):
        trial = Within(Answers(at_random(rng)), given)
        config = dict(space.suggest(trial))
        if given.keys() <= trial.used:
            return config
    return None


def conditional_axes(space: Callable[[Any], Any], draws: int = 64) -> list[str]:
    """Axes that some configurations of a space do not have, or have with other values; found by random draws.

    A name may say which values are legal, after an "@": the axis is what stands before it.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        trial = Answers(at_random(rng))
        space(trial)
        found.append({name: each for name, each in trial.distributions.items() if not each.single()})
    every = dict.fromkeys(name for drawn in found for name in drawn)
    varying = [name for name in every if any(drawn.get(name) != found[0].get(name) for drawn in found)]
    return list(dict.fromkeys(axis_of(name) for name in varying))


def axis_of(name: str) -> str:
    """The axis that a name of Optuna belongs to: names of restricted axes carry their choices behind an @."""
    return name.partition("@")[0]


def only_value(distribution: BaseDistribution) -> Any:
    """The value of a distribution that has a single one."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is one of a distribution's."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def at_random(rng: np.random.Generator) -> Answer:
    """Equal chances for all choices, and for all numbers of a range, or of its logarithm."""

    def answer(name: str, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(rng.integers(len(distribution.choices)))]
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high, whole = distribution.low, distribution.high, isinstance(distribution, IntDistribution)
        if distribution.log:
            half = 0.5 if whole else 0.0
            value = math.exp(float(rng.uniform(math.log(low - half), math.log(high + half))))
            return min(max(round(value) if whole else value, low), high)
        if distribution.step is None:
            return float(rng.uniform(low, high))
        return low + distribution.step * int(rng.integers(math.floor((high - low) / distribution.step + 1e-9) + 1))

    return answer
