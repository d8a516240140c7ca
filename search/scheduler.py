"""Rungs: token counts at which trials are compared, so that weak ones end early.

Successive halving for several objectives, without waiting: a trial that reaches a rung goes on when it is among the
best 1/factor of those that have reached it so far, best meaning first by non-dominated front over quality at that rung
and the costs, then by what it adds to the hypervolume of its front. As a rung fills, a trial that was stopped there may
come to be among the best after all; it is then promoted and goes on from its checkpoint. Sources: asynchronous
successive halving (Li et al. 2020, arXiv:1810.05934) and its form for several objectives (Schmucker et al. 2021,
arXiv:2106.12639), but for the order within a front, which there comes from an epsilon-net.

Methods that start slowly would lose every early comparison, so the first trials of each pass whatever they score. All
decisions are functions of what stands in the store: there is no state to save.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spaces.dominance import best_first


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

    def judge(self, trial: int, level: int) -> str:
        """Why the trial must stop at this rung, in words; empty when it goes on. What is said is remembered."""
        entries = self.entries[level - 1]
        own = entries[trial]
        passed = sum(e.method == own.method and not e.stopped for number, e in entries.items() if number != trial)
        place = self._best(entries).index(trial)
        if passed < self.protected or place < self._room(entries):
            return ""
        own.stopped = True
        where = f"stopped at rung {level} ({self.tokens[level - 1]:,} tokens)"
        return f"{where}: beaten by {place} of {len(entries)} trials there"

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
        for entries in reversed(self.entries):
            for trial in self._best(entries)[: self._room(entries)]:
                if entries[trial].stopped:
                    return trial
        return None

    def _room(self, entries: Mapping[int, Entry]) -> int:
        return math.ceil(len(entries) / self.factor)

    def _best(self, entries: Mapping[int, Entry]) -> list[int]:
        numbers = sorted(entries)
        if not numbers:
            return []
        costs_NK = np.array([entries[number].costs for number in numbers], dtype=float)
        known_K = np.isfinite(costs_NK).all(axis=0)  # a latency that only some have been measured for ranks nobody
        return [numbers[i] for i in best_first(costs_NK[:, known_K])]
