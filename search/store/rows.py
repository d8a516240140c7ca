"""Rows of a study's tables, built here from typed values. The store refuses a row with a key that no column has."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from search.store.history import Ask, Running
from spaces.records.objectives import Objective
from spaces.records.rows import TaskScore, TrialRow
from trainables.lanes.messages import TrialOutcome, Variant
from trainables.tasks.scores import Scores, StudentScore
from trainables.training.reports import TrialReport


def ended_row(ask: Ask, costs: Mapping[str, Any], constants: Mapping[str, Any], outcome: TrialOutcome) -> TrialRow:
    """The row of a trial that ran to its end, finished unless the outcome has a reason.

    costs: columns that are known before a trial runs, of its shape. constants: fields that all rows share.
    """
    return TrialRow(
        **_asked(ask),
        **constants,
        **scored(outcome.scores),
        **(asdict(outcome.trained) if outcome.trained else {"train_tokens": outcome.kept_tokens}),
        status="failed" if outcome.reason else "finished",
        reason=outcome.reason,
        costs={**costs, **outcome.costs},
        start_quality=outcome.start_quality,
        trained_quality=outcome.trained_quality,
        kept_tokens=outcome.kept_tokens,
        parent=outcome.parent,
        ancestor_tokens=outcome.ancestor_tokens,
        evaluate_s=outcome.evaluate_s,
        profile_s=outcome.profile_s,
        start_up_s=outcome.start_up_s,
        started_at=outcome.started_at,
        student_path=outcome.student_path,
    )


def variant_row(
    row: TrialRow, number: int, costs: Mapping[str, Any], constants: Mapping[str, Any], variant: Variant
) -> TrialRow:
    """The student of a finished row in another precision, under a number of its own; what training took stays there.

    costs, constants: as in `ended_row`, the costs in that precision.
    """
    return TrialRow(
        trial=number, config_hash=row.config_hash, seed=row.seed, config=row.config,
        **constants,
        **scored(variant.scores),
        status="variant",
        of_trial=row.trial,
        precision=variant.precision,
        costs={**costs, **variant.costs},
        kept_tokens=row.kept_tokens,
        parent=row.parent,
        ancestor_tokens=row.ancestor_tokens,
        held_out_loss=row.held_out_loss,
        train_tokens=row.train_tokens,
        started_at=row.started_at,
        student_path=row.student_path,
    )  # fmt: skip


def stopped_row(
    live: Running, costs: Mapping[str, Any], constants: Mapping[str, Any], report: TrialReport, reason: str, rung: int
) -> TrialRow:
    """The row of a trial that was stopped at a rung; `costs` and `constants` as in `ended_row`."""
    return TrialRow(
        **_asked(live.ask),
        **constants,
        **scored(report.scores),
        status="stopped",
        reason=reason,
        costs=costs,
        rung=rung,
        started_at=live.started_at,
        train_tokens=report.train_tokens,
        loss_last=report.loss,
        steps=report.step,
        train_s=report.elapsed_s,
    )


def _asked(ask: Ask) -> dict[str, Any]:
    return {"trial": ask.trial, "config_hash": ask.config_hash, "seed": ask.seed, "config": ask.config}


def scored(scores: Scores | None) -> dict[str, Any]:
    """Fields of a TrialRow."""
    if scores is None:
        return {}
    return {
        "quality": scores.quality,
        "torch_quality": scores.torch_quality,
        "artefact_loss": None if scores.torch_quality is None else scores.torch_quality - scores.quality,
        "worst_language": scores.worst_language,
        "worst_language_quality": scores.worst_language_quality,
        "tasks": {
            name: TaskScore(score=each.score, recovered=each.recovered, probe_layer=each.layer)
            for name, each in scores.tasks.items()
        },
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


def unusable(row: TrialRow, objectives: Sequence[Objective]) -> str:
    """Why a row cannot be compared with others, or nothing."""
    for objective in objectives:
        value = row.value(objective.column)
        if value is None:
            return f"the trial measured no {objective.column}"
        if not math.isfinite(value):
            return f"{objective.column} is not a finite number ({value})"
    return ""
