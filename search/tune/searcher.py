"""The face of `AskTell` towards Ray Tune.

Ray's own OptunaSearch tells truncated results as complete, loses NaN results as running for ever and cannot set
constraints, and its schedulers compare one metric; here Tune only learns which job comes next, whether a trial goes on,
and hands back what came of it.
"""

import logging
from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from search.proposals.asktell import AskTell
from search.store.history import Ask
from spaces.errors import StillhouseError
from spaces.records.rows import TrialRow
from spaces.values import from_json, to_json
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.training.reports import TrialReport

FINISHED: Any = Searcher.FINISHED
LOST = TrialOutcome(reason="the node or process that ran the trial was lost again and again")
LOG = logging.getLogger("stillhouse.searcher")


class StudySearcher(Searcher):
    """Tune's view of `AskTell`. Results carry JSON texts, because Tune flattens and amends result dictionaries.

    An error of ours (a full disk, say) must stop the search, which Tune would rather survive: it is kept in `fatal`.
    """

    def __init__(
        self,
        asktell: AskTell,
        make_job: Callable[[Ask], TrialJob],
        on_row: Callable[[TrialRow], None],
        room: Callable[[], int],
    ) -> None:
        super().__init__(metric=None, mode=None)
        self.asktell, self.make_job, self.on_row, self.room = asktell, make_job, on_row, room
        self.fatal: Exception | None = None
        self._trials: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self.fatal is not None:
            return FINISHED
        if self._trials and len(self._trials) >= self.room():
            return None
        try:
            ask = self.asktell.ask()
        except Exception as error:
            self.fatal = error
            return FINISHED
        if ask is None:
            return FINISHED if self.asktell.tally.ended and not self.asktell.live else None
        self._trials[trial_id] = ask.trial
        return {"job": to_json(self.make_job(ask))}

    def goes_on(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Take a report; False when the trial has been stopped by it."""
        if trial_id not in self._trials or not result.get("report"):
            return True
        try:
            row = self.asktell.report(self._trials[trial_id], from_json(TrialReport, result["report"]))
            if row is not None:
                del self._trials[trial_id]
                self.on_row(row)
        except Exception as failure:
            self.fatal = failure
            return False
        return row is None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        said = result or {}
        outcome, no_room = said.get("outcome"), said.get("handed_back")
        if trial_id not in self._trials or not (outcome or no_room or error):
            return  # stopped at a rung, or with the whole search: then it stays asked and is run again by a resume
        number = self._trials.pop(trial_id)
        try:
            if no_room:
                row = self.asktell.hand_back(number, no_room)
            else:
                row = self._tell(number, from_json(TrialOutcome, outcome) if outcome else LOST)
            if row is not None:
                self.on_row(row)
        except Exception as failure:
            self.fatal = failure

    def _tell(self, number: int, outcome: TrialOutcome) -> TrialRow:
        """Raises StillhouseError when the trial, and so the next one, had no disk to write to: it stays asked."""
        if outcome.traceback:
            LOG.error("trial %d failed: %s\n%s", number, outcome.reason, outcome.traceback)
        if outcome.disk_full:
            raise StillhouseError(
                f"the disk is full: trial {number} could not write what it must keep ({outcome.reason}). Free some "
                f"space, then: stillhouse resume {self.asktell.store.folder}"
            )
        return self.asktell.tell(number, outcome)

    def __getstate__(self) -> dict[str, Any]:
        """The Tuner pickles itself for a restore that never happens."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshots are not used: the store is the record."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """See `save`."""

    def restore(self, checkpoint_path: str) -> None:
        raise StillhouseError("a study is resumed from its folder: stillhouse resume DIR")


class RungScheduler(FIFOScheduler):
    """Tune's scheduler: trials start in the order they were asked and stop where `AskTell` says so.

    Tune keeps one lane that has nothing to do and ends the others, as where all wait for the last start to be scored;
    each would take some twenty seconds to come back. Here as many are kept as trials may run: where a node has gone,
    fewer, for an idle lane keeps its cores from the next one.
    """

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self.searcher = searcher
        self.kept = 0

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        room = max(1, self.searcher.room())
        own = getattr(tune_controller, "_tune_controller", tune_controller)  # what it is wrapped in warns
        own._actor_cache.increase_max(trial.placement_group_factory, by=room - self.kept)
        self.kept = room

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE if self.searcher.goes_on(trial.trial_id, result) else self.STOP

    def __getstate__(self) -> dict[str, Any]:
        """See `StudySearcher`."""
        return {}
