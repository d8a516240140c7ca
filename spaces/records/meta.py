"""study.json as a value: what a study is, beside its rows. Search writes it and analysis reads it.

JSON is made and parsed here only. A number of the file's format stands in it: files of earlier formats are read, those
of a later one are refused. Keys that this version does not know are named in `StudyMeta.unknown`.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from spaces.errors import StillhouseError
from spaces.records.columns import CONFIG_COLUMNS
from spaces.records.data import DataFacts
from spaces.records.deploy import DeploySpec
from spaces.records.latency import LatencySpec
from spaces.records.objectives import Aim, aim_of
from spaces.records.schemas import Column
from spaces.records.shares import Gap
from spaces.students.architecture import SHAPE_KEYS, StudentArchitecture
from spaces.values import read_value

FORMAT = 2
"""Of study.json and of the tables beside it. 1: shape and costs of the teacher stood among its other facts."""


@dataclass(frozen=True)
class TeacherMeta:
    """The teacher of a study."""

    name: str
    family: str
    digest: str
    """of its weights and configuration"""
    architecture: StudentArchitecture
    vocab_size: int
    max_positions: int
    """tokens"""
    type_vocab_size: int
    has_lm_head: bool
    costs: Mapping[str, float | None] = field(default_factory=dict)
    """by column of the trials table, as measured with the study's `latency`"""
    hub_id: str | None = None
    """where it is published, if it was taken from there"""
    license: str | None = None
    """as its card says"""
    languages: tuple[str, ...] = ()
    """codes, as its card says"""


@dataclass(frozen=True)
class TaskMeta:
    """A task of a study, with what teacher and floor score on its dev split."""

    kind: str
    metric: str
    teacher: float
    """the task's metric"""
    floor: float
    """the mean over `floor_seeds`"""
    floor_seeds: tuple[float, ...] = ()
    """the score of each untrained encoder"""
    teacher_layer: int | None = None
    """that the probe chose"""
    protocol: str = ""
    """how it is scored; empty: as the study says"""
    num_train: int = 0
    """examples"""
    num_dev: int = 0
    num_test: int = 0
    positive_class: str | None = None
    """the class that the metric is of, where it is of one"""
    language: str | None = None
    weight: float = 1.0
    """in quality, beside the other tasks"""

    @property
    def metric_text(self) -> str:
        """The metric for a person, with the class that it is of."""
        return self.metric if self.positive_class is None else f"{self.metric} of {self.positive_class!r}"

    @property
    def gap(self) -> Gap:
        """What dev shares are measured by."""
        return Gap(self.metric, self.num_dev, self.teacher, self.floor)


@dataclass(frozen=True)
class ComparisonMeta:
    """How a comparison runs; a search has none."""

    seeds: tuple[int, ...]
    tuning_seed: int | None = None
    """of the trials that choose learning rates; None when there is nothing to choose"""
    tuned_on: tuple[str, ...] = ()
    """names of shapes"""
    learning_rates: tuple[float, ...] = ()
    """that were tried"""


@dataclass(frozen=True)
class StudyMeta:
    """A study: its aim, budget, teacher, tasks, and where its costs were measured."""

    name: str
    created: str
    """UTC, ISO 8601"""
    seed: int
    space_digest: str
    objectives: tuple[str, ...]
    train_tokens: int
    """tokens of a trial"""
    num_trials: int
    sampler: str
    protocol: str
    """how students are scored: zero_shot, probe or finetune"""
    teacher: TeacherMeta
    tasks: Mapping[str, TaskMeta]
    """by name, in the order of the spec"""
    latency: LatencySpec
    hardware: str
    """in words"""
    versions: Mapping[str, str]
    """of the packages that matter"""
    deploy: DeploySpec = field(default_factory=DeploySpec)
    """what is handed over, and so scored, timed and sized"""
    student_tokenizer: str = ""
    """whose tokenizer students have; empty: the teacher's"""
    documents: str = "student"
    """who embeds the documents of a search: the student or the teacher"""
    constraints: Mapping[str, float] = field(default_factory=dict)
    """upper limits by the name of a cost"""
    comparison: ComparisonMeta | None = None
    costs: tuple[str, ...] = ()
    """names of the costs that were known or measured; empty in files of format 1"""
    pace_ms: float | None = None
    """what a fixed piece of work took when latencies were measured; None in files of earlier versions"""
    prepare_s: float | None = None
    """seconds before the first trial"""
    axes: tuple[Column, ...] = ()
    """columns that the trials table has for axes of this study beyond those of every study"""
    named_shapes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """costs of shapes of the literature with this teacher, by name and column, as far as they follow from a shape"""
    data: DataFacts | None = None
    """what is read of corpus and tasks, and what is left out; None in files of earlier versions"""
    contents: Mapping[str, str] = field(default_factory=dict)
    """digests of what the study is made of: teacher, corpus, tasks, starts; empty where none were kept"""
    place: str = ""
    """the folder when this was written, from which paths of the spec are found again after a move; local ones only"""
    unknown: tuple[str, ...] = field(default=(), compare=False)
    """keys of the file that this version does not know; they are not written again"""

    @cached_property
    def aim(self) -> Aim:
        """Objectives and limits, which say which students are on the front."""
        return aim_of(self.objectives, self.constraints, [column.name for column in self.axes])

    @property
    def config_columns(self) -> tuple[str, ...]:
        """The columns that say what a trial of this study was, its seed aside."""
        return (*CONFIG_COLUMNS, *(column.name for column in self.axes))

    def protocol_of(self, task: str) -> str:
        """How students are scored on a task."""
        return self.tasks[task].protocol or self.protocol

    @property
    def weights(self) -> dict[str, float]:
        """Task -> its weight in quality."""
        return {name: task.weight for name, task in self.tasks.items()}

    @property
    def weak_tasks(self) -> tuple[str, ...]:
        """Tasks whose gap is so small, for so few dev examples, that shares of it say little."""
        return tuple(name for name, task in self.tasks.items() if task.gap.is_weak)

    @property
    def languages(self) -> dict[str, list[str]]:
        """Language -> its tasks, in the order of the spec; tasks that name none are left out."""
        found: dict[str, list[str]] = {}
        for name, task in self.tasks.items():
            if task.language:
                found.setdefault(task.language, []).append(name)
        return found

    def to_json(self) -> str:
        """The text of study.json."""
        table = {key: value for key, value in dataclasses.asdict(self).items() if key != "unknown"}
        return json.dumps({"format": FORMAT, **table}, indent=2, default=str) + "\n"

    @classmethod
    def from_json(cls, text: str, place: str) -> "StudyMeta":
        """Read the text of study.json; `place` is where it came from. Raises StillhouseError with all problems."""
        mend = "Restore it, or start the study again."
        try:
            table = json.loads(text)
        except ValueError as error:
            raise StillhouseError(f"{place} is not valid JSON ({error}). {mend}") from error
        found = table.get("format") if isinstance(table, dict) else None
        if found not in range(1, FORMAT + 1):
            rule = f"format must be 1 to {FORMAT}, got {found!r}"
            raise StillhouseError(f"{place}: {rule}. Use the version that wrote it.")
        table = {key: value for key, value in table.items() if key != "format"}
        problems: list[str] = []
        unknown: list[str] = []
        meta = read_value(cls, _of_format_1(table) if found == 1 else table, "", problems, unknown)
        if problems:
            raise StillhouseError(f"{place}: {'; '.join(problems)}. {mend}")
        return dataclasses.replace(meta, unknown=tuple(unknown))


def _of_format_1(table: dict[str, Any]) -> dict[str, Any]:
    """The same in the present format."""
    if not isinstance(table.get("teacher"), dict):
        return table
    teacher = dict(table["teacher"])
    shape = {key: teacher.pop(key) for key in list(teacher) if key in SHAPE_KEYS}
    costs = {key: teacher.pop(key) for key in list(teacher) if key not in TeacherMeta.__dataclass_fields__}
    return {**table, "teacher": {**teacher, "architecture": shape, "costs": costs}}
