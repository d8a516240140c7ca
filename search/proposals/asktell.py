"""What to try next: an ask/tell loop whose only state is the store.

Every ask is a function of the history and of (seed, trial number): Optuna's study, the rungs and the model are built
from the rows each time, so nothing has to be pickled and a resume is the same code as a start. The order is always:
write `asked`, run, write `reports`, write `trials`. A configuration that was asked before is answered from the store.

A trial that was stopped at a rung is never told to Optuna, whose samplers know one fidelity only; our own sampler
(search/samplers/hypervolume.py) learns from every rung. Seeds of one configuration are one point, their mean. Trials of
another seed than the study's are confirmations: they count against no budget and are never stopped. Starts are scored
as they are, as students like any other, before the first trial trains; they count against no budget either. When the
search is over, what its budget keeps for the end trains the members of the front on.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna

from search.proposals.draws import Draws
from search.proposals.freeze_thaw import FreezeThaw
from search.proposals.grid import Grid
from search.proposals.inheritance import ancestor_of, best_of_shapes, continued
from search.proposals.observations import Memory
from search.proposals.rungs import Rungs, fill
from search.proposals.searched import Searched
from search.proposals.spending import Clock
from search.proposals.taking import Taker
from search.proposals.told import branches
from search.samplers.registry import FREEZE_THAW, GRID
from search.store.history import RAN, Ask, History, Running, Wanted, is_untrained, qualities
from search.store.parts import Store
from search.store.rows import ended_row, report_row, stopped_row, test_rows, unusable, variant_row
from spaces.records.rows import TrialRow
from trainables.lanes.messages import TrialOutcome
from trainables.training.reports import TrialReport

Agenda = Callable[["AskTell"], tuple[Sequence[Wanted], int]]
"""The trials that a narrowed search should have run by now, and how many more it will want when they have."""
MAX_HAND_BACKS = 10
"""How often one trial may find no place (about two minutes each) while none runs, before it is given up."""


class AskTell:
    """Asks for configurations until the budget is spent and records what became of them."""

    def __init__(self, store: Store, searched: Searched, now_s: Callable[[], float] = time.monotonic) -> None:
        self.store, self.searched, self.aim = store, searched, searched.aim
        self.rungs = Rungs(searched.rung_tokens, searched.rung_factor, searched.protected)
        self.history = History(store)
        self.tally = self.history.tally
        self.memory = Memory(self.history, searched)
        self.clock = Clock(self.history, now_s)
        self.live: dict[int, Running] = {}
        """Trials between ask and tell, by number."""
        self._wait_for_a_result = False
        self._agenda: Agenda | None = None
        self._queue: list[Wanted] = []
        self._is_final = False
        """Whether the search is over and members of the front are trained on."""
        self._to_come = 0
        self._handed_back: Counter[int] = Counter()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        tried_once = branches(searched.space)
        self._draws = Draws(searched, self.history, self.memory, tried_once)
        self._grid = Grid(searched, self.history) if searched.sampler == GRID else None
        fill(self.rungs, self.history, searched)
        self._taker: Taker | None = None
        if searched.schedule == FREEZE_THAW and searched.rung_tokens and searched.sampler != GRID:
            rule = FreezeThaw(searched, self.history, self.memory, tried_once)
            self._taker = Taker(searched, self.history, rule, self.clock)

    @property
    def spent(self) -> int:
        """Trials that ran and do not run again: those of the study's own seed, or, in a narrowed search, of any.

        Under freeze_thaw it is their tokens that count, in whole trials.
        """
        if self._taker is not None and self._agenda is None:
            return int(self._taker.trained({}) + 1e-9)

        def counts(seed: int) -> bool:
            return self._agenda is not None or seed == self.searched.seed

        again = (self.tally.by_trial.get(trial) for trial, each in self.live.items() if counts(each.ask.seed))
        ran = sum(count for seed, count in self.history.ran.items() if counts(seed))
        return ran - sum(row is not None and row.status in RAN for row in again)

    @property
    def scope(self) -> str:
        """What freeze_thaw looks at, in words; nothing under another schedule."""
        return "" if self._taker is None else self._taker.rule.scope

    @property
    def left(self) -> int:
        """Trials to come, those that run included."""
        if self._agenda is None:
            return self.searched.budget + self.searched.final - self.spent
        return len(self.live) + len(self.history.interrupted) + len(self._queue) + self._to_come

    @property
    def waiting(self) -> int:
        """Trials of an earlier run that are to be run again."""
        return len(self.history.interrupted)

    def narrow(self, agenda: Agenda) -> None:
        """Ask for what is on it only. When all of that has ended it is asked what else; nothing new is the end."""
        self._agenda = agenda
        self._read_agenda()

    def ask(self) -> Ask | None:
        """The next trial to run; None when nothing can be asked now (see `tally.ended` for whether ever again)."""
        if self.history.interrupted:
            return self._go_on(self.history.interrupted.pop(0))
        if self.tally.ended:
            return None
        if self._agenda is not None:
            return self._next_on_agenda()
        found = None if self._is_final else self._search_on()
        return self._next_final() if found is None and self._is_final else found

    def _search_on(self) -> Ask | None:
        """The next trial of the search itself."""
        first = self.history.first_new
        if (start := first(self.searched.starts, self.searched.seed, self.searched.check_limits)) is not None:
            return self._start(start)
        if any(is_untrained(each.ask.config) for each in self.live.values()):
            return None  # what they score is known before a token is spent
        if (wanted := first(self.searched.try_first, self.searched.seed, self.searched.check)) is not None:
            return self._start(wanted)
        if self._taker is not None:
            return self._take(self._taker)
        if why := self.searched.allowance.spent(self.clock):
            self._over(why)
            return None
        if (promoted := self.rungs.promotable()) is not None:
            self.rungs.go_on(promoted)
            return self._go_on(self.history.asked[promoted])
        if self._wait_for_a_result:
            return None
        own = sum(each.ask.seed == self.searched.seed for each in self.live.values())
        if self.spent + own >= self.searched.budget:
            self._over(f"the budget of {self.searched.budget} trials is spent")
            return None
        return self._next_of_grid() if self._grid is not None else self._draw()

    def report(self, trial: int, report: TrialReport) -> TrialRow | None:
        """Take what a running trial says; its row when it has to stop here, at a rung."""
        live = self.live[trial]
        self._handed_back.clear()
        if self._taker is not None:
            self._taker.forget()
        live.reports = [row for row in live.reports if row["step"] < report.step] + [report_row(trial, report)]
        level = self.rungs.level(report.train_tokens) if report.scores is not None else 0
        if report.scores is None or not level or live.ask.seed != self.searched.seed:
            return None
        if not math.isfinite(report.scores.quality):
            return None
        reason = ""
        if not self.rungs.has_reached(trial, level):
            costs = self.searched.rung_costs(live.ask.config, report.scores.quality)
            self.rungs.reach(trial, level, live.ask.config["method"], costs)
            if self._taker is not None:
                reason = self._taker.pause(self.live, trial, level)
            else:
                reason = self.rungs.judge(trial, level)
        if not reason:
            self.history.write_reports(live)
            return None
        row = stopped_row(live, self.searched.costs(live.ask.config), self.searched.constants, report, reason, level)
        ended = self._end(live, row)  # first: reports without a row mean that the trial passed the rung
        self.history.write_reports(live)
        return ended

    def tell(self, trial: int, outcome: TrialOutcome) -> TrialRow:
        """Record the result of a trial."""
        live = self.live[trial]
        if outcome.test_scores:
            self.store.write_part("test_scores", trial, test_rows(trial, outcome.test_scores))
        row = ended_row(live.ask, self.searched.costs(live.ask.config), self.searched.constants, outcome)
        row = replace(row, precision=self.searched.precision)
        if row.status == "finished" and (reason := unusable(row, self.aim.objectives)):
            row = replace(row, status="failed", reason=reason)
        if self.rungs.tokens and live.ask.seed == self.searched.seed:
            row = replace(row, rung=len(qualities(live.reports)))
        if live.reports:
            self.history.write_reports(live)
        if self._taker is not None and live.ask.seed == self.searched.seed:
            self._taker.end(trial, len(qualities(live.reports)))
        if row.status == "finished":  # before its row, without which the trial runs again and replaces them
            self._record_variants(row, outcome)
        return self._end(live, row)

    def hand_back(self, trial: int, why: str) -> TrialRow | None:
        """A trial could not be run now: it is asked for again, before any new one; its row when that leads nowhere."""
        self._handed_back[trial] += 1
        if self._handed_back[trial] == MAX_HAND_BACKS:
            return self.tell(
                trial, TrialOutcome(reason=f"handed back {MAX_HAND_BACKS} times while no trial ran: {why}")
            )
        del self.live[trial]
        self.clock.end(trial)
        self.history.interrupted.append(self.history.asked[trial])
        return None

    def _record_variants(self, row: TrialRow, outcome: TrialOutcome) -> None:
        known = self.history.variants.get(row.trial, {})
        for each in outcome.variants:
            costs = self.searched.variants[each.precision](row.config)
            number = known.get(each.precision, self.history.next_number)
            self.history.record(variant_row(row, number, costs, self.searched.constants, each))

    def _end(self, live: Running, row: TrialRow) -> TrialRow:
        del self.live[live.ask.trial]
        self.clock.end(live.ask.trial)
        self._wait_for_a_result = False
        if self._taker is not None and row.status != "stopped":
            self._taker.forget()
        self.history.reports[live.ask.trial] = live.reports
        self.history.record(row)
        if row.status == "finished":
            for each in (row, *self.history.further(row.trial)):
                self.memory.add(each)
        return row

    def _take(self, taker: Taker) -> Ask | None:
        taken = taker.take(self.live)
        if isinstance(taken, Ask):
            return self._start(taken)
        if taken is not None:
            return self._go_on(taken)
        self._over(taker.why_nothing)
        return None

    def _draw(self) -> Ask | None:
        if (ask := self._draws.next(self.live, self.spent + len(self.live))) is not None:
            return self._start(ask)
        self._wait_for_a_result = True
        self._over(self._draws.why_nothing, whatever_runs=self._draws.are_over)
        return None

    def _over(self, why: str, *, whatever_runs: bool = False) -> None:
        """Nothing is left to search: the end, or the trials that train the front on. Else it waits for what runs."""
        if not self.live or whatever_runs:
            self._is_final = bool(self.searched.final)
            self.tally.ended = "" if self._is_final else why

    def _next_final(self) -> Ask | None:
        """The next trial that trains a member of the front on."""
        total = self.searched.budget + self.searched.final
        running = sum(each.ask.seed == self.searched.seed for each in self.live.values())
        spent = self.spent + running if self._taker is None else self._taker.trained(self.live)
        wanted, why = None, self.searched.final_allowance.spent(self.clock)
        if not why and spent + 1 > total + 1e-9:
            why = f"the budget of {total} trials is spent"
        if not why:
            why = "the search is over, and no member of its front can be trained on"
            wanted = continued(self.tally.rows, self.aim, self.searched.seed, self.history.known)
        if wanted is None and not self.live:
            self.tally.ended = why
        return None if wanted is None else self._start(self.history.ask_for(wanted))

    def _read_agenda(self) -> None:
        assert self._agenda is not None
        asks, self._to_come = self._agenda(self)
        self._queue = [each for each in asks if each.digest not in self.history.known]

    def _next_on_agenda(self) -> Ask | None:
        if not self._queue and not self.live:
            self._read_agenda()
        if self._queue:
            return self._start(self.history.ask_for(self._queue.pop(0)))
        if not self.live:
            self.tally.ended = "every wanted trial has run"
        return None

    def _next_of_grid(self) -> Ask | None:
        assert self._grid is not None
        if (config := self._grid.next()) is not None:
            return self._start(self.history.ask_for(Wanted(config, self.searched.seed)))
        self._wait_for_a_result = True
        self._over("every configuration of the grid has been tried")
        return None

    def _start(self, ask: Ask) -> Ask:
        if self.searched.inherits and self._agenda is None and ask.parent is None:
            best = best_of_shapes(self.memory.rows(), self.searched.seed)
            if (ancestor := ancestor_of(ask.config, best)) is not None:
                ask = replace(ask, parent=ancestor.trial)
        self.live[ask.trial] = self.history.start(ask, self.clock.seconds, self.clock.trial_s)
        self.clock.begin(ask.trial)
        return ask

    def _go_on(self, row: Mapping[str, Any]) -> Ask:
        live = self.history.again(row)
        self.live[live.ask.trial] = live
        self.clock.begin(live.ask.trial)
        return live.ask
