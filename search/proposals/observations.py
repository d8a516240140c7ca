"""What the sampler and the model of surrogate.py learn from: a bounded part of the history, kept as the study goes on.

What both cost grows faster than the history, and what they may learn from trials long beaten does not. Everything here
is a function of the rows, whatever the order they came in, so that a resume remembers what an undisturbed run would.
"""

import json
import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from search.proposals.inheritance import ancestor_of, best_of_shapes, tokens_before
from search.proposals.searched import Searched
from search.proposals.told import finished, written
from search.samplers.answers import Answers
from search.samplers.context import Beside, Config, Evidence, Seen
from search.store.history import History, Running, qualities
from spaces.records.fronts import Lookup, costs_of, front_costs, looked_up, non_dominated, values_of
from spaces.records.objectives import QUALITY
from spaces.records.rows import TrialRow

MOST_REMEMBERED, MOST_TOLD = 200, 100
"""Trials and observations that the model learns from, and trials that Optuna is told of for every draw."""


class Memory:
    """The front of the finished trials, in each precision of their students, and what is remembered of them."""

    def __init__(self, history: History, searched: Searched) -> None:
        self.history, self.searched, self.aim = history, searched, searched.aim
        self._written: dict[str, Answers] = {}
        self._finished: dict[tuple[Any, ...], FrozenTrial] = {}
        students = [each for row in history.finished for each in (row, *history.further(row.trial))]
        students.sort(key=lambda each: each.trial)
        costs_NK = front_costs(values_of(students), self.aim)
        self._front = [(row.trial, costs_NK[i]) for i, row in enumerate(students)]
        self._front = [self._front[i] for i in np.flatnonzero(non_dominated(costs_NK))]

    def add(self, row: TrialRow) -> None:
        """A trial has finished, or its student in a further precision is known."""
        costs_K, trial = front_costs(values_of([row]), self.aim)[0], row.trial
        kept = [each for each in self._front if each[0] != trial]
        as_good = [number for number, other_K in kept if (other_K <= costs_K).all()]
        equal = [number for number, other_K in kept if (other_K == costs_K).all()]
        if as_good != equal or (equal and equal[0] < trial) or not np.isfinite(costs_K).all():
            self._front = kept
            return
        self._front = sorted(
            [*(each for each in kept if not (costs_K <= each[1]).all()), (trial, costs_K)], key=lambda each: each[0]
        )

    @property
    def front_trials(self) -> list[int]:
        """Numbers of the trials that trained the members of the front."""
        return sorted({self.history.tally.by_trial[number].owner for number, _ in self._front})

    @property
    def front_MK(self) -> np.ndarray:
        """Costs of the members of the front, in the order of their numbers."""
        return np.array([costs_K for _, costs_K in self._front]).reshape(-1, len(self.aim.objectives))

    def rows(self, most: int = MOST_REMEMBERED) -> list[TrialRow]:
        """Finished trials that are learned from: all, or the front and the latest of many, by number."""
        finished = self.history.finished
        if len(finished) <= most:
            return finished
        on_front = self.front_trials[-most // 2 :]
        latest = [row.trial for row in finished[len(on_front) - most :]]
        return [self.history.tally.by_trial[number] for number in sorted({*on_front, *latest})]

    def told(self) -> list[FrozenTrial]:
        """Finished trials as the sampler may know them, one for each configuration, in the order of their numbers."""
        groups: dict[str, list[Lookup]] = {}
        for row in self.rows(MOST_TOLD):
            if not self.searched.space.holds(row.config):  # untrained, or of a release that gave its shape other heads
                continue
            groups.setdefault(self.history.asked[row.trial]["config"], []).append(partial(reached, row))
        for each in (each for each in self.searched.earlier if each.share == 1.0):
            known = {**self.searched.costs(each.config), QUALITY.column: each.quality}
            if np.isfinite(costs_of(looked_up([known.get]), self.aim.objectives)).all():
                groups.setdefault(json.dumps(each.config, sort_keys=True), []).append(known.get)
        told = []
        for text, group in groups.items():
            wanted = dict.fromkeys(o.column for o in (*self.aim.objectives, *self.aim.limits))
            columns = [column for column in wanted if group[0](column) is not None]
            means = {column: float(np.mean([look_up(column) for look_up in group])) for column in columns}
            broken = {o.name: (means[o.column] - m) / m for o, m in self.aim.limits.items() if o.column in means}
            key = (text, *means.items())
            if key not in self._finished:
                values = [means[o.column] for o in self.aim.objectives]
                self._finished[key] = finished(self.write(text), values, broken)
            told.append(self._finished[key])
        return told

    def evidence(self, live: Sequence[Running], seed: int, staying: int | None = None) -> Evidence:
        """What the model of surrogate.py learns from; of the trials that run, those of a seed will be on the front.

        staying: one of them of which that is not sure, since it stands at a rung.
        """
        signs_K = [-1.0 if o.direction == "max" else 1.0 for o in self.aim.objectives]
        running = [each.ask.config for each in live if each.ask.seed == seed and each.ask.trial != staying]
        ends = self._ends(live) if self.searched.inherits else None
        front = (self.front_MK * signs_K).tolist()
        failed = [self.history.config_of(trial) for trial in self.history.failed[-MOST_REMEMBERED:]]
        return Evidence(self.seen(live), running, front, failed, beside=self._beside(), end_of=ends)

    def _beside(self) -> list[Beside]:
        """The student of each trial in the further precisions of [deploy]: as much better or worse than in the first as
        those that are remembered are in the mean. Limits are not looked at: they were in the first."""
        apart: dict[str | None, list[float]] = {precision: [] for precision in self.searched.variants}
        for row in self.rows() if apart else ():
            for each in self.history.further(row.trial):
                if math.isfinite(difference := each.rank_quality - row.rank_quality):
                    apart[each.precision].append(difference)
        return [
            Beside(partial(self.searched.known, precision=precision), float(np.mean(found)) if found else 0.0)
            for precision, found in apart.items()
        ]

    def _ends(self, live: Sequence[Running]) -> Callable[[Config], float]:
        """The share at which a configuration would end; one that has begun keeps its ancestor."""
        best = best_of_shapes(self.rows(), self.searched.seed)
        asked = [*(each.ask.trial for each in live), *self.history.stopped]
        begun = {key_of(self.history.config_of(trial)): tokens_before(self.history, trial) for trial in asked}

        def end_of(config: Config) -> float:
            if (before := begun.get(key_of(config))) is None:
                ancestor = ancestor_of(config, best)
                before = 0 if ancestor is None else ancestor.line_tokens or 0
            return 1.0 + before / self.searched.train_tokens

        return end_of

    def seen(self, live: Sequence[Running]) -> list[Seen]:
        """The qualities that the model is fitted to, at whatever share of the budget; the latest of many."""
        history, remembered = self.history, self.rows()
        known = {row.trial: history.reports.get(row.trial, []) for row in remembered}
        known |= {trial: history.reports.get(trial, []) for trial in history.stopped[-MOST_REMEMBERED:]}
        known |= {each.ask.trial: each.reports for each in live}
        seen = list(self.searched.earlier)
        for trial in sorted(known):
            found = qualities(known[trial])
            config = history.config_of(trial) if found else {}
            before = tokens_before(history, trial) if found else 0
            seen += [Seen(config, (before + tokens) / self.searched.train_tokens, quality) for tokens, quality in found]
        for row in remembered:
            end = 1.0 + (row.ancestor_tokens or 0) / self.searched.train_tokens
            seen.append(Seen(history.config_of(row.trial), end, row.reached_quality))
        return seen[-MOST_REMEMBERED:]

    def write(self, text: str) -> Answers:
        """A configuration, as the history spells it, under Optuna's names."""
        if text not in self._written:
            self._written[text] = written(self.searched.space, json.loads(text))
        return self._written[text]


def reached(row: TrialRow, column: str) -> float | None:
    """The value of an objective as training left it. A kept start would say of each method that it loses nothing."""
    return row.reached_quality if column == QUALITY.column else row.value(column)


def key_of(config: Config) -> Hashable:
    """The same for equal configurations."""
    return tuple(sorted(config.items()))
