"""Rungs: token counts at which trials are compared, so that weak ones end early.

Successive halving for several objectives, without waiting: a trial that reaches a rung goes on when it is among the
best 1/factor of those that have reached it so far (of the latest COMPARED, when they are many), best meaning first by
non-dominated front over quality at that rung and the costs, then by what it adds to the hypervolume of its front. As a
rung fills, a trial that was stopped there may come to be among the best after all; it is then promoted and goes on from
its checkpoint. Sources: asynchronous
successive halving (Li et al. 2020, arXiv:1810.05934) and its form for several objectives (Schmucker et al. 2021,
arXiv:2106.12639), but for the order within a front, which there comes from an epsilon-net.

Methods that start slowly would lose every early comparison, so the first trials of each pass whatever they score. All
decisions are functions of what stands in the store: there is no state to save.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from search.proposals.searched import Searched
from search.store.history import History, qualities
from spaces.records.fronts import leaders

COMPARED = 300
"""Trials at a rung that one is compared with: later ones are better asked, and the cost of a decision stays flat."""


def rung_tokens(first: int | None, factor: int, budget: int) -> tuple[int, ...]:
    """first, first x factor, ... below the budget; nothing when there is no first."""
    tokens: list[int] = []
    while first is not None and first < budget:
        tokens.append(first)
        first *= factor
    return tuple(tokens)


@dataclass
class Entry:
    """A trial at a rung."""

    method: str
    costs: Sequence[float]
    """Every objective as a cost; NaN where it is not known yet."""
    stopped: bool = False


@dataclass
class Rungs:
    """Who reached which rung, and what follows from it."""

    tokens: tuple[int, ...]
    factor: int
    protected: int
    """Trials of each method that pass each rung whatever they score."""
    entries: list[dict[int, Entry]] = field(init=False)
    _leaders: dict[int, list[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.entries = [{} for _ in self.tokens]

    def level(self, train_tokens: int) -> int:
        """How many rungs a trial has reached after so many tokens."""
        return sum(train_tokens >= tokens for tokens in self.tokens)

    def has_reached(self, trial: int, level: int) -> bool:
        """Whether a trial was at this rung before: it is judged there once, even if it has to start over."""
        return any(trial in entries for entries in self.entries[level - 1 :])

    def reach(self, trial: int, level: int, method: str, costs: Sequence[float]) -> None:
        """A trial has been scored at its `level`-th rung, counted from 1."""
        self.entries[level - 1][trial] = Entry(method, tuple(costs))
        self._leaders.pop(level, None)

    def judge(self, trial: int, level: int) -> str:
        """Why the trial must stop at this rung, in words; empty when it goes on. What is said is remembered."""
        own, best = self.entries[level - 1][trial], self.leaders(level)
        others = (entry for number, entry in self.entries[level - 1].items() if number != trial)
        passed = sum(entry.method == own.method and not entry.stopped for entry in others)
        if passed < self.protected or trial in best:
            return ""
        own.stopped = True
        among = f"the best {len(best)} of {len(self.compared(level))} trials there"
        return f"stopped at rung {level} ({self.tokens[level - 1]:,} tokens): not among {among}"

    def stop(self, trial: int, level: int) -> None:
        """Remember, from the store, that a trial was stopped at a rung."""
        if trial in self.entries[level - 1]:
            self.entries[level - 1][trial].stopped = True

    def go_on(self, trial: int) -> None:
        """A stopped trial runs again."""
        for entries in self.entries:
            if trial in entries:
                entries[trial].stopped = False

    def promotable(self) -> int | None:
        """The best stopped trial of the highest rung that has room for it by now."""
        for level in range(len(self.tokens), 0, -1):
            for trial in self.leaders(level):
                if self.entries[level - 1][trial].stopped:
                    return trial
        return None

    def compared(self, level: int) -> list[int]:
        """The trials that decisions at a rung are made among, in the order of their numbers."""
        return sorted(self.entries[level - 1])[-COMPARED:]

    def leaders(self, level: int) -> list[int]:
        """Those of them that have room on the next rung."""
        if level not in self._leaders:
            numbers, entries = self.compared(level), self.entries[level - 1]
            if not numbers:
                return []
            costs_NK = np.array([entries[number].costs for number in numbers], dtype=float)
            known_K = np.isfinite(costs_NK).all(axis=0)  # a latency that only some have been measured for ranks nobody
            best = leaders(costs_NK[:, known_K], math.ceil(len(numbers) / self.factor))
            self._leaders[level] = [numbers[i] for i in best]
        return self._leaders[level]


def fill(rungs: Rungs, history: History, searched: Searched) -> None:
    """Put every trial of the study's seed on the rungs that it reached, as the store has it."""
    for trial, reports in history.reports.items():
        if history.asked[trial]["seed"] == searched.seed:
            config = history.config_of(trial)
            for tokens, quality in qualities(reports):
                rungs.reach(trial, rungs.level(tokens), config["method"], searched.rung_costs(config, quality))
    for trial in history.stopped:
        rungs.stop(trial, history.tally.by_trial[trial].rung or 0)
