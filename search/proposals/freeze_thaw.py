"""Freeze and thaw: a free worker takes, of everything that may be trained, what adds most to the front for its price.

At every rung a trial is compared with all others that could be trained instead: with those that are paused, and with
new configurations. What each would add to the front is the expected hypervolume improvement at its full budget; its
price is the share of that budget that it has not trained, the higher the larger the student. The largest gain per price
is taken; trials that run count as if they had ended as expected, and each method is tried once at first. A paused trial
keeps its checkpoint and goes on from there when it is taken. What does not fit into what is left of the budget is not
taken, so that the budget ends in whole students.

Sources: freeze-thaw, Swersky, Snoek and Adams, arXiv:1406.3896, there by entropy; expected hypervolume improvement,
Emmerich et al. 2006; gain per cost, Snoek, Larochelle and Adams, arXiv:1206.2944.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.proposals.observations import Memory
from search.proposals.searched import Searched
from search.samplers.answers import Answers, Within, at_random
from search.samplers.context import Config
from search.samplers.promises import promises
from search.store.history import History, Running, is_untrained
from spaces.errors import InfeasibleConfig, SpecError
from spaces.records.costs import FLOPS
from spaces.records.objectives import QUALITY
from spaces.space.search_space import SearchSpace, config_hash

LISTED = 2000
"""Configurations up to which every decision looks at the whole space."""
LEAST = 4
"""Observations below which new configurations are taken at random."""
NEAR = 0.5
"""Of the draws from a space that is not listed, the share that changes a configuration of the front along one axis."""


@dataclass(frozen=True)
class Option:
    """Something that a worker may train."""

    config: Config
    costs: Mapping[str, Any]
    """Cost columns as far as they are known."""
    trial: int | None = None
    """A trial that is paused or stands at a rung; None: a new configuration."""
    left: float = 1.0
    """Share of its budget that it has not trained."""


@dataclass(frozen=True)
class Offer:
    """An option with what it promises and what it costs."""

    option: Option
    gain: float | None = None
    """Hypervolume that its whole budget is expected to add; None where too little has been seen to say."""
    price: float = 1.0
    """Of what is left of it, in trials of mean size."""

    @property
    def worth(self) -> float | None:
        """Gain per price."""
        return None if self.gain is None else self.gain / self.price


@dataclass(frozen=True)
class Choice:
    """What is taken, and what was not."""

    best: Offer
    rival: Offer | None = None
    """What came second."""
    own: Offer | None = None
    """The trial that stands at a rung, where the choice is whether it goes on."""
    compared: int = 1
    """Options."""


class FreezeThaw:
    """The rule, over what the history holds."""

    def __init__(self, searched: Searched, history: History, memory: Memory, branches: Sequence[Mapping[str, Any]]):
        self.searched, self.history, self.memory, self.branches = searched, history, memory, branches
        self._untried, self._looked = list(branches), 0
        """Branches without a trial among the first so many that were asked."""
        configs = listed(searched.space)
        self.is_listed = configs is not None
        self._new = {self._hash(config): self._new_option(config) for config in configs or () if self._may_run(config)}
        """The new configurations of a listed space, by hash; what has been asked for is taken out."""

    @property
    def scope(self) -> str:
        """What decisions look at, in words; and whether the budget lets each method be tried."""
        looks = (
            f"all {len(self._new):,} configurations left of the space"
            if self.is_listed
            else f"{self.searched.candidates} draws, since the space has ranges or more than {LISTED:,} configurations"
        )
        if self._can_try_all:
            return f"freeze and thaw: each decision looks at {looks}"
        return (
            f"freeze and thaw: each decision looks at {looks}; {self.searched.budget} trials are too few to try each "
            f"of {len(self.branches)} methods and mappings first"
        )

    @property
    def _can_try_all(self) -> bool:
        """Whether a trial of each branch, to its first rung, takes no more than half of the budget."""
        first = self.searched.rung_tokens[0] / self.searched.train_tokens
        return 2 * first * len(self.branches) <= self.searched.budget

    def options(self, live: Mapping[int, Running], staying: int | None, turn: int) -> list[Option]:
        """Everything that may be trained now; `staying` is a live trial that stands at a rung."""
        own = [trial for trial in self.history.stopped if self.history.asked[trial]["seed"] == self.searched.seed]
        waiting = sorted([*(trial for trial in own if trial not in live), *([] if staying is None else [staying])])
        found = [
            self._option(trial, live[trial].reports if trial == staying else self.history.reports[trial])
            for trial in waiting
        ]
        return found + self._fresh(turn)

    def choose(
        self, live: Mapping[int, Running], fits: Callable[[Option], bool], turn: int, staying: int | None = None
    ) -> Choice | None:
        """The option of the largest gain per price among those that fit; None when none does.

        turn: counts what was taken; what is drawn depends on it.
        """
        options = self._of_next_branch([each for each in self.options(live, staying, turn) if fits(each)])
        if not options:
            return None
        evidence, prior = self.memory.evidence(list(live.values()), self.searched.seed, staying), self.searched.prior
        own = next((index for index, each in enumerate(options) if staying is not None and each.trial == staying), None)
        if len(evidence.seen) < LEAST:
            rng = np.random.default_rng([self.searched.seed, turn])
            number = self._at_random(options, rng) if own is None else own
            return Choice(Offer(options[number]), compared=len(options))
        objectives = self.searched.aim.objectives
        columns = [objective.column for objective in objectives]
        gains_N = promises(
            [each.config for each in options],
            [[each.costs.get(column) for column in columns] for each in options],
            evidence,
            [self.searched.known(config) for config in evidence.running],
            [-1 if objective.direction == "max" else 1 for objective in objectives],
            self.searched.worst(),
            columns.index(QUALITY.column),
            (0.0, 1.0),
        )
        prices_N = prices(options)
        worth_N = gains_N / prices_N
        if prior is not None:
            worth_N = worth_N * prior.weights([each.config for each in options], len(evidence.seen))
        offers = [Offer(*each) for each in zip(options, gains_N.tolist(), prices_N.tolist(), strict=True)]
        best, *others = np.argsort(-worth_N, kind="stable")[:2].tolist()
        return Choice(
            offers[best],
            offers[others[0]] if others else None,
            None if own is None else offers[own],
            len(options),
        )

    def _at_random(self, options: Sequence[Option], rng: np.random.Generator) -> int:
        if self.searched.prior is None:
            return int(rng.integers(len(options)))
        return self.searched.prior.at_random([each.config for each in options], rng)

    def _of_next_branch(self, options: list[Option]) -> list[Option]:
        """New configurations of the first branch that has not been tried; all options when each has been.

        In a budget that is too small for that none is preferred.
        """
        if not self._can_try_all:
            return options
        new = list(itertools.islice(self.history.asked.items(), self._looked, None))
        own = [self.history.config_of(trial) for trial, row in new if row["seed"] == self.searched.seed]
        self._looked += len(new)
        self._untried = [
            branch for branch in self._untried if not any(branch.items() <= config.items() for config in own)
        ]
        for branch in self._untried:
            found = [each for each in options if each.trial is None and branch.items() <= each.config.items()]
            if found:
                return found
        return options

    def _fresh(self, turn: int) -> list[Option]:
        """New configurations: all of a listed space, or draws."""
        if self.is_listed:
            for digest in self.history.known & self._new.keys():
                del self._new[digest]
            return list(self._new.values())
        rng = np.random.default_rng([self.searched.seed, turn])
        anchors = [
            self.history.config_of(trial)
            for trial in sorted({*self.memory.front_trials, max(self.history.asked, default=-1)} - {-1})
            if not is_untrained(self.history.config_of(trial))
        ]
        anchors = [config for config in anchors if self.searched.space.holds(config)]
        drawn: dict[str, Option] = {}
        for number in range(self.searched.candidates):
            is_near = anchors and number < NEAR * self.searched.candidates
            config = draw(self.searched.space, rng, anchors[int(rng.integers(len(anchors)))] if is_near else None)
            digest = self._hash(config)
            if digest not in self.history.known and self._may_run(config):
                drawn.setdefault(digest, self._new_option(config))
        return list(drawn.values())

    def _may_run(self, config: Config) -> bool:
        try:
            self.searched.check(config)
        except InfeasibleConfig:
            return False
        return True

    def _option(self, trial: int, reports: Sequence[Mapping[str, Any]]) -> Option:
        tokens = 0 if trial in self.history.lost_checkpoints else max(row["train_tokens"] for row in reports)
        config = self.history.config_of(trial)
        return Option(config, self.searched.costs(config), trial, 1.0 - tokens / self.searched.train_tokens)

    def _new_option(self, config: Config) -> Option:
        return Option(config, self.searched.costs(config))

    def _hash(self, config: Config) -> str:
        return config_hash(config, self.searched.seed)


def prices(options: Sequence[Option]) -> np.ndarray:
    """What is left of each, in trials of mean size, (N,): half of a trial's time is taken to grow with its FLOPs."""
    flops_N = np.array([float(each.costs.get(FLOPS.column) or np.nan) for each in options])
    size_N = flops_N / flops_N.mean() if np.isfinite(flops_N).all() else np.ones(len(options))
    return np.array([each.left for each in options]) * (0.5 + 0.5 * size_N)


def listed(space: SearchSpace) -> list[Config] | None:
    """All configurations of a space; None where a range makes them endless, or when they are more than LISTED."""
    try:
        configs: list[Config] = list(itertools.islice(space.enumerate(), LISTED + 1))
    except SpecError:
        return None
    return configs if len(configs) <= LISTED else None


def draw(space: SearchSpace, rng: np.random.Generator, near: Config | None) -> Config:
    """A configuration at random; with `near`, that one with one of its axes drawn anew."""
    trial = Answers(at_random(rng))
    if near is None:
        return space.suggest(trial)
    settled = space.values_of(near)
    axes = sorted(settled.keys() & space.axes.keys())
    del settled[axes[int(rng.integers(len(axes)))]]
    return space.suggest(Within(trial, settled))
