"""A row of the trials table as a value. Its fields are the table's columns: unit and meaning stand here, once."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pyarrow as pa

from spaces.records.costs import columns_of_costs
from spaces.records.schemas import FLOAT, INT, TEXT, Column

TIME = pa.timestamp("us", tz="UTC")
TYPES = {int: INT, float: FLOAT, str: TEXT, datetime: TIME}
STATUSES: dict[str, str] = {
    "finished": "trained and scored",
    "stopped": "ended at a rung, where other trials were better; its scores are those of that rung",
    "failed": "started and could not finish; the reason says why",
    "infeasible": "could not be built; nothing was spent",
    "variant": "the student of an earlier trial in another precision, where [deploy] names several",
    "duplicate": "the same configuration and seed as an earlier trial, whose result it repeats",
}

STUDENTS = ("finished", "variant")
"""Statuses of what may be on a front."""


@dataclass(frozen=True)
class About:
    """Unit and meaning of a field that is a column."""

    unit: str
    meaning: str
    since: int = 1
    """As in Column."""


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """Dev scores of a trial on one task; each field is a column that ends in the name of the task."""

    score: Annotated[float | None, About("the task's metric", "raw dev score of the student on {task}")] = None
    recovered: Annotated[float | None, About("share", "(score - floor) / (teacher - floor) on {task}")] = None
    probe_layer: Annotated[int | None, About("layer", "layer the probe chose on {task}; 0 = embeddings")] = None


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial that ended: what was asked, what was measured, on what. None: not measured, or not known by its study.

    The columns of `config`, `tasks` and `costs` depend on the study; every other field is a column of its own.
    """

    trial: Annotated[int, About("number", "number of the trial in its study, from 0")]
    config_hash: Annotated[str, About("", "hash of configuration and seed")]
    status: Annotated[str, About("", "one of " + ", ".join(STATUSES))]
    reason: Annotated[str, About("", "why the trial did not finish, in words; empty if it did")] = ""
    seed: Annotated[int, About("", "seed of initialisation, order and masking")]
    config: Mapping[str, Any] = field(default_factory=dict)
    """axis -> value, the shape included; axes that the configuration does not have are left out"""
    precision: Annotated[
        str | None, About("", "of the file that is scored and measured, where [deploy] names several", since=2)
    ] = None
    quality: Annotated[
        float | None,
        About(
            "share", "weighted mean over tasks of the recovered share, each within -1 and 1: 0 untrained, 1 the teacher"
        ),
    ] = None
    torch_quality: Annotated[
        float | None,
        About(
            "share",
            "quality in torch by the same probes, where `quality` is that of the file for another runtime",
            since=2,
        ),
    ] = None
    artefact_loss: Annotated[float | None, About("share", "torch_quality - quality", since=2)] = None
    tasks: Mapping[str, TaskScore] = field(default_factory=dict)
    worst_language: Annotated[str | None, About("code", "language with the smallest worst_language_quality")] = None
    worst_language_quality: Annotated[
        float | None, About("share", "smallest such mean over the tasks of one language")
    ] = None
    costs: Mapping[str, float] = field(default_factory=dict)
    """column of the costs' registry -> value; what was not measured is left out"""
    start_quality: Annotated[
        float | None, About("share", "quality before the first step; null where only the end was scored", since=2)
    ] = None
    trained_quality: Annotated[
        float | None, About("share", "quality after the last step; below start_quality where it fell", since=2)
    ] = None
    kept_tokens: Annotated[
        int | None,
        About(
            "tokens",
            "tokens that the kept student had trained on; 0: it is its start; below train_tokens: its best rung",
            since=2,
        ),
    ] = None
    parent: Annotated[
        int | None,
        About("number", "trial whose student it went on from; null: it began as its configuration says", since=2),
    ] = None
    ancestor_tokens: Annotated[
        int | None,
        About("tokens", "tokens that the student of `parent` had trained on, in all its generations", since=2),
    ] = None
    loss_first: Annotated[float | None, About("", "first training loss; scales differ between methods")] = None
    loss_last: Annotated[float | None, About("", "last training loss; scales differ between methods")] = None
    held_out_loss: Annotated[
        float | None, About("", "distillation loss on held-out text; scales differ between methods")
    ] = None
    targets: Annotated[
        str | None, About("", "where the teacher's part of the loss came from: cache, live, or none")
    ] = None
    train_tokens: Annotated[int | None, About("tokens", "tokens trained on")] = None
    steps: Annotated[int | None, About("steps", "optimiser steps")] = None
    rung: Annotated[int | None, About("rungs", "rungs reached; null in a study without rungs")] = None
    train_s: Annotated[float | None, About("s", "wall-clock time of training")] = None
    teacher_s: Annotated[
        float | None, About("s", "of train_s, what the teacher took since the last resume; not told on a GPU")
    ] = None
    evaluate_s: Annotated[float | None, About("s", "wall-clock time of scoring on tasks")] = None
    profile_s: Annotated[float | None, About("s", "wall-clock time of measuring size and latency")] = None
    start_up_s: Annotated[float | None, About("s", "wall-clock time from being handed the trial to its first step")] = (
        None
    )
    started_at: Annotated[datetime | None, About("UTC", "when the trial started")] = None
    hardware: Annotated[str | None, About("", "what the latency was measured on")] = None
    versions: Annotated[str | None, About("JSON", "versions of the packages that matter")] = None
    student_path: Annotated[str, About("", "folder of the student inside the study folder; empty if none")] = ""
    of_trial: Annotated[int | None, About("number", "of a duplicate or variant, the trial that trained")] = None

    @property
    def line_tokens(self) -> int | None:
        """Tokens that its student has trained on, in this trial and in those that it went on from."""
        own = self.train_tokens if self.kept_tokens is None else self.kept_tokens
        return own if self.ancestor_tokens is None or own is None else own + self.ancestor_tokens

    @property
    def is_of_rung(self) -> bool:
        """Whether its student is that of a rung, which the rest of the training did not improve."""
        return 0 < (self.kept_tokens or 0) < (self.train_tokens or 0)

    @property
    def owner(self) -> int:
        """The trial that trained its student."""
        return self.trial if self.of_trial is None else self.of_trial

    @property
    def rank_quality(self) -> float:
        """The quality for comparing trials: minus infinity where there is none."""
        return float("-inf") if self.quality is None else self.quality

    @property
    def reached_quality(self) -> float:
        """The quality that its training led to, whether that was kept or the start: what a model of quality learns."""
        return self.rank_quality if self.trained_quality is None else self.trained_quality

    def value(self, column: str) -> float | None:
        """The number in the column of an objective; None where there is none."""
        found: float | None = self.costs.get(column)
        return found if found is not None or column not in FIXED else getattr(self, column)

    def columns(self) -> dict[str, Any]:
        """The row as the table has it; nulls are left out."""
        found = {name: getattr(self, name) for name in FIXED} | dict(self.config) | dict(self.costs)
        for task, scores in self.tasks.items():
            found |= {f"{name}_{task}": value for name, value in vars(scores).items()}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_columns(cls, row: Mapping[str, Any], tasks: Sequence[str] = ()) -> "TrialRow":
        """The row of a study's table; `tasks` are those of the study. What is neither fixed, score nor cost is an axis.

        Raises TypeError for a row without number, hash, status or seed.
        """
        left = {name: value for name, value in row.items() if value is not None}
        fixed = {name: left.pop(name) for name in FIXED if name in left}
        scores = {task: TaskScore(**{name: left.pop(f"{name}_{task}", None) for name in SCORES}) for task in tasks}
        names = [column.name for column in columns_of_costs()]
        costs = {name: left.pop(name) for name in names if name in left}
        return cls(**fixed, config=left, tasks=scores, costs=costs)


def declared(kind: type) -> dict[str, Column]:
    """The columns that the fields of a class declare, in their order."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is Annotated:
            value, about = get_args(hint)
            found[name] = Column(name, TYPES[(get_args(value) or (value,))[0]], about.unit, about.meaning, about.since)
    return found


FIXED, SCORES = declared(TrialRow), declared(TaskScore)
LANGUAGES = ("worst_language", "worst_language_quality")
"""Fields that only studies have whose tasks name their language."""


def columns_of_rows(tasks: Sequence[str], config: Sequence[Column], by_language: bool) -> tuple[Column, ...]:
    """The columns of the trials table, in the order of the fields of TrialRow."""
    of_tasks = [
        dataclasses.replace(each, name=f"{name}_{task}", meaning=each.meaning.format(task=task))
        for task in tasks
        for name, each in SCORES.items()
    ]
    of_study = {"config": config, "tasks": of_tasks, "costs": columns_of_costs()}
    found: list[Column] = []
    for each in dataclasses.fields(TrialRow):
        if each.name in of_study:
            found += of_study[each.name]
        elif by_language or each.name not in LANGUAGES:
            found.append(FIXED[each.name])
    return tuple(found)
