"""What a search has spent beside its trials: hours of searching, and the cost of the workers that ran them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from search.store.history import History

HOUR_S = 3600.0


class Clock:
    """Seconds of a search, and seconds of its trials, all of them together; both over all runs of a study."""

    def __init__(self, history: History, now_s: Callable[[], float] = time.monotonic) -> None:
        self._before_s, self._trials_before_s = history.searched_s, history.trials_s
        self.now_s = now_s
        self._started_s = now_s()
        self._running: dict[int, float] = {}
        """By trial, when it was begun."""

    def begin(self, trial: int) -> None:
        """A trial holds its workers from here on."""
        self._running[trial] = self.now_s()

    def end(self, trial: int) -> None:
        """It gives them back."""
        self._trials_before_s += self.now_s() - self._running.pop(trial)

    @property
    def seconds(self) -> float:
        """Of searching, up to now."""
        return self._before_s + self.now_s() - self._started_s

    @property
    def trial_s(self) -> float:
        """Of trials, those that run included."""
        return self._trials_before_s + sum(self.now_s() - begun_s for begun_s in self._running.values())


@dataclass(frozen=True)
class Allowance:
    """What may be spent beside the trials; None: as much as they take."""

    hours: float | None = None
    """Of searching."""
    cost: float | None = None
    """Of workers, in the currency of `price`."""
    price: float = 0.0
    """Of one trial's workers, an hour."""

    def part(self, share: float) -> "Allowance":
        """A share of it."""
        return Allowance(self.hours and self.hours * share, self.cost and self.cost * share, self.price)

    def cost_of(self, clock: Clock) -> float:
        """What the trials have cost."""
        return self.price * clock.trial_s / HOUR_S

    def spent(self, clock: Clock) -> str:
        """What is used up, in words; empty while nothing is."""
        if self.hours is not None and clock.seconds >= HOUR_S * self.hours:
            return f"the budget of {self.hours:g} hours is spent"
        if self.cost is not None and self.cost_of(clock) >= self.cost:
            return f"the cost of {self.cost:g} is spent, at {self.price:g} an hour of a trial"
        return ""

    def leave(self, trial_s: float, clock: Clock, to_come_s: float) -> bool:
        """Whether a trial that takes so long would end within it; running trials take `to_come_s` more."""
        if self.hours is not None and clock.seconds + trial_s > HOUR_S * self.hours:
            return False
        return self.cost is None or self.cost_of(clock) + self.price * (to_come_s + trial_s) / HOUR_S <= self.cost

    @property
    def words(self) -> str:
        """What is limited, in words; empty where nothing is."""
        named = {"{:g} hours": self.hours, "a cost of {:g}": self.cost}
        return " and ".join(text.format(value) for text, value in named.items() if value is not None)
