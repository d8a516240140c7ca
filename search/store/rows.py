"""Rows of a study's tables, built here from typed values. The store refuses a row with a key that no column has."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from search.store.history import Ask
from trainables.tasks.scores import StudentScore
from trainables.training.reports import TrialReport


def trial_row(
    ask: Ask, costs: Mapping[str, Any], constants: Mapping[str, Any], measured: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of a trial that ran.

    costs: columns that are known before a trial runs, of its shape. constants: columns that all rows share.
    measured: what came of the trial.
    """
    return {
        "student_path": "",
        **costs,
        **ask.config,
        **constants,
        **measured,
        "trial": ask.trial,
        "config_hash": ask.config_hash,
        "seed": ask.seed,
    }


def stopped_columns(report: TrialReport, reason: str, rung: int, started_at: datetime) -> dict[str, Any]:
    """What the row of a trial says that was stopped at a rung."""
    return {
        **(report.scores.columns() if report.scores else {}),
        "status": "stopped",
        "reason": reason,
        "rung": rung,
        "started_at": started_at,
        "train_tokens": report.train_tokens,
        "loss_last": report.loss,
        "steps": report.step,
        "train_s": report.elapsed_s,
    }


def report_row(trial: int, report: TrialReport) -> dict[str, Any]:
    """A row of the reports table."""
    return {"trial": trial, **report.columns()}


def test_rows(trial: int, scores: Mapping[str, StudentScore]) -> list[dict[str, Any]]:
    """A student's rows of the test scores, by task."""
    return [
        {"trial": trial, "task": task, "protocol": each.protocol, "score": each.score, "recovered": each.recovered,
         "layer": each.layer, "metric": each.metric}
        for task, each in scores.items()
    ]  # fmt: skip
