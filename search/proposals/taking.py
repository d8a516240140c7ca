"""The schedule freeze_thaw as the search runs it: what is taken next, what pauses, what still fits into the budget.

The budget is `trials` whole trials of tokens, which more trials may share, and `hours` and `cost` if the spec has them.
A trial that runs counts as whole until it pauses. Every decision is written down before it is done.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from search.proposals.freeze_thaw import Choice, FreezeThaw, Option
from search.proposals.searched import Searched
from search.proposals.spending import Clock
from search.store.history import Ask, History, Running, is_untrained
from spaces.records.costs import FLOPS
from spaces.space.search_space import config_hash
from spaces.students.architecture import outline

TIMED = 50
"""Trials that say how long one takes, the latest."""
Live = Mapping[int, Running]


class Taker:
    """Decides by the rule of freeze_thaw.py, within the budget."""

    def __init__(self, searched: Searched, history: History, rule: FreezeThaw, clock: Clock) -> None:
        self.searched, self.history, self.rule, self.clock = searched, history, rule, clock
        self.why_nothing = ""
        """Why nothing was taken the last time."""
        self._next: Choice | None = None
        """What the last pause was for, as long as nothing else has been heard."""

    def take(self, live: Live) -> Ask | Mapping[str, Any] | None:
        """A new ask, the row of the ask of a paused trial, or nothing."""
        choice, self._next = self._next or self._choose(live), None
        if choice is None:
            self.why_nothing = self._what_is_over(live)
            return None
        per_hour = self._gain_per_hour(choice, live)
        if per_hour is not None and per_hour < self.searched.stop_when:
            self.why_nothing = (
                f"an hour of a worker is expected to add {per_hour:.2g} to the hypervolume, less than [search] "
                f"stop_when {self.searched.stop_when:g}"
            )
            return None
        if (trial := choice.best.option.trial) is not None:
            self._decide("thaw", trial, len(self.history.passed(trial)), choice)
            return self.history.asked[trial]
        config, seed = dict(choice.best.option.config), self.searched.seed
        ask = Ask(self.history.next_number, config, seed, config_hash(config, seed))
        self._decide("try", ask.trial, 0, choice)
        return ask

    def pause(self, live: Live, trial: int, level: int) -> str:
        """Why a trial that stands at its rung pauses there, in words; empty when it goes on."""
        choice = self._choose(live, trial)
        if choice is None or choice.best.option.trial == trial:
            if choice is not None:
                self._decide("go_on", trial, level, choice)
            return ""
        self._next = choice
        self._decide("pause", trial, level, choice)
        tokens = self.searched.rung_tokens[level - 1]
        return f"paused at rung {level} ({tokens:,} tokens): {_name(choice.best.option)} {_worth(choice)}"

    def end(self, trial: int, rung: int) -> None:
        """A trial has come to its end; written down so that what a study has spent is known to the last."""
        self.history.write_decision(trial, {"action": "end", "rung": rung, **self._spent()})

    def forget(self) -> None:
        """Something was heard that may change what is next."""
        self._next = None

    def trained(self, live: Live, but: int | None = None) -> float:
        """Whole trials that the study's tokens amount to; each that runs counts as whole, save one that may pause."""
        seed, rows = self.searched.seed, self.history.tally.by_trial
        whole = [trial for trial, each in live.items() if each.ask.seed == seed and trial != but]
        counted = {*whole, but}
        total = float(self.history.ran[seed])  # those that are paused or run as well, which have shares of their own
        total += sum(not is_untrained(live[trial].ask.config) for trial in whole)
        for trial in self.history.stopped:
            if rows[trial].seed == seed:
                total += (0.0 if trial in counted else self._share(trial)) - 1.0
        again = (rows[trial] for trial in counted if trial in rows and rows[trial].status in ("finished", "failed"))
        total -= sum(row.seed == seed and not is_untrained(row.config) for row in again)
        if but is not None:
            total += max(each["train_tokens"] for each in live[but].reports) / self.searched.train_tokens
        return total

    def _share(self, trial: int) -> float:
        """Of its budget that a paused trial has trained."""
        return (self.history.tally.by_trial[trial].train_tokens or 0) / self.searched.train_tokens

    def _choose(self, live: Live, staying: int | None = None) -> Choice | None:
        room = self.searched.budget - self.trained(live, staying) + 1e-9
        allowance = self.searched.allowance
        if not allowance.words:
            return self.rule.choose(live, lambda option: option.left <= room, self.history.taken, staying)
        rate = self._seconds_per_flop(live) or 0.0
        to_come_s, is_over = self._to_come_s(live, staying, rate), bool(allowance.spent(self.clock))

        def fits(option: Option) -> bool:
            if is_over or option.left > room:
                return False
            return allowance.leave(self._seconds(option, rate), self.clock, to_come_s)

        return self.rule.choose(live, fits, self.history.taken, staying)

    def _what_is_over(self, live: Live) -> str:
        if why := self.searched.allowance.spent(self.clock):
            return why
        if self.searched.budget - self.trained(live) < 1:
            return f"the budget of {self.searched.budget} trials is spent"
        if self.searched.allowance.words:
            return f"no trial would end within what is left of {self.searched.allowance.words}"
        return "every configuration of the space has been tried"

    def _seconds_per_flop(self, live: Live) -> float | None:
        """Of training, from what the latest trials took; None before any has been timed."""
        rates = []
        reports = {**self.history.reports, **{trial: each.reports for trial, each in live.items()}}
        for trial in sorted(reports)[-TIMED:]:
            last = max(reports[trial], key=lambda row: row["train_tokens"], default=None)
            if last is not None and last["train_tokens"] and last["elapsed_s"]:
                costs = self.searched.costs(self.history.config_of(trial))
                rates.append(last["elapsed_s"] / (last["train_tokens"] * _flops(costs)))
        return float(np.median(rates)) if rates else None

    def _seconds(self, option: Option, rate: float) -> float:
        """What training an option to its end takes."""
        return option.left * self.searched.train_tokens * _flops(option.costs) * rate

    def _to_come_s(self, live: Live, but: int | None, rate: float) -> float:
        """Seconds that the trials which run will still train, save one that may pause. rate: seconds of a FLOP."""
        total = 0.0
        for trial, each in live.items():
            if trial != but and not is_untrained(each.ask.config):
                tokens = max((row["train_tokens"] for row in each.reports), default=0)
                left = max(0, self.searched.train_tokens - tokens)
                total += left * _flops(self.searched.costs(each.ask.config)) * rate
        return total

    def _spent(self) -> dict[str, float]:
        """The columns that say what the study has spent by now."""
        return {"search_s": self.clock.seconds, "trials_s": self.clock.trial_s}

    def _gain_per_hour(self, choice: Choice, live: Live) -> float | None:
        """Of one worker; None where it cannot be said."""
        rate = self._seconds_per_flop(live)
        if choice.best.gain is None or rate is None:
            return None
        return choice.best.gain / (self._seconds(choice.best.option, rate) / 3600)

    def _decide(self, action: str, trial: int, rung: int, choice: Choice) -> None:
        paused = action == "pause"  # then what is taken instead is the rival
        own, rival = (choice.own, choice.best) if paused else (choice.best, choice.rival)
        self.history.write_decision(trial, {
            "action": action, "rung": rung, "compared": choice.compared, **self._spent(),
            **({} if own is None else {"gain": own.gain, "price": own.price, "left": own.option.left}),
            **({} if rival is None else {
                "rival": rival.option.trial, "rival_gain": rival.gain, "rival_price": rival.price,
                "rival_config": json.dumps(dict(rival.option.config), sort_keys=True),
            }),
        })  # fmt: skip


def _flops(costs: Mapping[str, Any]) -> float:
    """Of a token; without them all students take as long."""
    return float(costs.get(FLOPS.column) or 1.0)


def _name(option: Option) -> str:
    config = option.config
    what = f"{config['method']} {outline(config)}"
    return f"trial {option.trial} ({what})" if option.trial is not None else f"a new {what}"


def _worth(choice: Choice) -> str:
    if choice.own is None or choice.own.worth is None or choice.best.worth is None:
        return "is tried first"
    return f"promises {choice.best.worth:.2g} for its price, this one {choice.own.worth:.2g}"
