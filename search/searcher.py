"""The face of `AskTell` towards Ray Tune.

Ray's own OptunaSearch tells truncated results as complete, loses NaN results as running for ever and cannot set
constraints; here Tune only learns which job comes next and hands back what came of it.
"""

import json
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from ray.tune.search import Searcher

from search.sampler import Ask, AskTell
from spaces.errors import StillhouseError

FINISHED: Any = Searcher.FINISHED
LOG = logging.getLogger("stillhouse.searcher")


class StudySearcher(Searcher):
    """Tune's view of `AskTell`. Results carry JSON texts, because Tune flattens and amends result dictionaries.

    An error of ours (a full disk, say) must stop the search, which Tune would rather survive: it is kept in `fatal`.
    """

    def __init__(
        self, asktell: AskTell, make_job: Callable[[Ask], dict[str, Any]], on_row: Callable[[dict[str, Any]], None]
    ) -> None:
        super().__init__(metric=None, mode=None)
        self.asktell, self.make_job, self.on_row = asktell, make_job, on_row
        self.fatal: Exception | None = None
        self._trials: dict[str, tuple[int, list[dict[str, Any]]]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self.fatal is not None:
            return FINISHED
        try:
            ask = self.asktell.ask()
        except Exception as error:
            self.fatal = error
            return FINISHED
        if ask is None:
            return FINISHED if self.asktell.progress.ended and not self.asktell.running else None
        self._trials[trial_id] = (ask.trial, [])
        return {"job": json.dumps(self.make_job(ask))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id in self._trials and result.get("report"):
            self._trials[trial_id][1].append(json.loads(result["report"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        outcome = (result or {}).get("outcome")
        if trial_id not in self._trials or (outcome is None and not error):
            return  # the search was stopped: the trial stays asked and is run again by a resume
        number, reports = self._trials.pop(trial_id)
        measured = (
            json.loads(outcome)
            if outcome
            else {"reason": "the node or process that ran the trial was lost again and again"}
        )
        if where := measured.pop("traceback", None):
            LOG.error("trial %d failed: %s\n%s", number, measured.get("reason"), where)
        if "started_at" in measured:
            measured["started_at"] = datetime.fromisoformat(measured["started_at"])
        try:
            self.on_row(self.asktell.tell(number, measured, reports))
        except Exception as failure:
            self.fatal = failure

    def __getstate__(self) -> dict[str, Any]:
        """The Tuner pickles itself for a restore that never happens."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshots are not used: the store is the record."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """See `save`."""

    def restore(self, checkpoint_path: str) -> None:
        raise StillhouseError("a study is resumed from its folder: stillhouse resume DIR")
