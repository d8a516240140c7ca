"""Ray Tune's own callbacks for TensorBoard and MLflow, switched on by `[logging] callbacks`.

Results of a trial carry JSON texts and Tune knows a trial by its job; here both become what these tools understand:
numbers under plain names, counted in train tokens, and the configuration as parameters, one run per trial number. The
store stays the record: what such a tool loses is lost to it alone.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.logger import LoggerCallback
from ray.tune.result import TIMESTEPS_TOTAL, TRAINING_ITERATION

from search.store.history import Ask
from search.store.rows import ended_row, scored
from spaces.records.rows import TrialRow
from spaces.values import from_json
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.training.reports import TrialReport

NOBODY: dict[str, Any] = {"trial": -1, "seed": 0, "config_hash": ""}
"""These are no measured numbers: a run has them in its name and its parameters."""


class Run:
    """A Tune trial as the callbacks see it: named by its number, with its configuration, in a folder that stays."""

    def __init__(self, trial: Any, folder: Path) -> None:
        job = from_json(TrialJob, trial.config["job"])
        self.trial_id = f"{job.trial:05d}"
        self.config = {**{k: v for k, v in job.config.items() if v is not None}, "seed": job.seed}
        self.evaluated_params = self.config
        self.local_path = str(folder / self.trial_id)

    def __str__(self) -> str:
        return f"trial {self.trial_id}"

    def init_local_path(self) -> None:
        """Make the folder."""
        os.makedirs(self.local_path, exist_ok=True)


class Flattened(LoggerCallback):
    """Passes flat results on to a callback of Ray."""

    def __init__(self, inner: LoggerCallback, folder: Path) -> None:
        self.inner, self.folder = inner, folder
        self.runs: dict[str, Run] = {}
        self.tokens: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """The Tuner pickles its callbacks for a restore that never happens."""
        return {}

    def setup(self, *args: Any, **info: Any) -> None:
        """Once, before the first trial."""
        self.inner.setup(*args, **info)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """A report or the outcome of a trial."""
        if trial.trial_id not in self.runs:
            self.runs[trial.trial_id] = Run(trial, self.folder)
            self.inner.log_trial_start(self.runs[trial.trial_id])  # type: ignore[arg-type]
        run, found = self.runs[trial.trial_id], numbers(result)
        tokens = self.tokens[run.trial_id] = int(found.get("train_tokens", self.tokens.get(run.trial_id, 0)))
        step = {TRAINING_ITERATION: max(1, int(found.get("step", found.get("steps", 1)))), TIMESTEPS_TOTAL: tokens}
        self.inner.log_trial_result(iteration, run, {**found, **step})  # type: ignore[arg-type]

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """The trial's run is over."""
        if run := self.runs.pop(trial.trial_id, None):
            self.inner.log_trial_end(run, failed)  # type: ignore[arg-type]


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report or an outcome, under the names of their columns."""
    flat: dict[str, Any] = {}
    if result.get("report"):
        report = from_json(TrialReport, result["report"])
        flat |= TrialRow(**NOBODY, status="", **scored(report.scores)).columns() | report.columns()
    if result.get("outcome"):
        flat |= ended_row(Ask(**NOBODY, config={}), {}, {}, from_json(TrialOutcome, result["outcome"])).columns()
    measured = {name: value for name, value in flat.items() if name not in NOBODY}
    return {k: v for k, v in measured.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def tensorboard(name: str, folder: Path) -> LoggerCallback:
    """Event files under DIR/tensorboard, one folder per trial."""
    from ray.tune.logger import TBXLoggerCallback

    return Flattened(TBXLoggerCallback(), folder / "tensorboard")


def mlflow(name: str, folder: Path) -> LoggerCallback:
    """Runs of an experiment with the study's name: at MLFLOW_TRACKING_URI, else in DIR/mlflow.db."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    return Flattened(MLflowLoggerCallback(tracking_uri=uri, experiment_name=name), folder / "mlflow")


CALLBACKS: dict[str, Callable[[str, Path], LoggerCallback]] = {"tensorboard": tensorboard, "mlflow": mlflow}


def loggers(names: Sequence[str], study: str, folder: Path) -> list[LoggerCallback]:
    """The callbacks by name; what they write on this machine goes into `folder`."""
    return [CALLBACKS[name](study, folder) for name in names]
