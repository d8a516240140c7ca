"""A study folder as one checked value: its trials, the students among them, and the noise of their quality."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs

from analysis.study.intervals import with_share_intervals
from analysis.words import WITHOUT_TEACHER
from spaces.errors import StillhouseError, choose
from spaces.records.columns import (
    DATASETS,
    PROFILED,
    baselines_columns,
    decisions_columns,
    profiles_columns,
    reports_columns,
    test_scores_columns,
    trials_columns,
)
from spaces.records.costs import COSTS, Cost
from spaces.records.filesystems import open_filesystem, read_text
from spaces.records.fronts import QUALITY_COLUMNS
from spaces.records.latency import LatencySpec, PassSpec
from spaces.records.meta import StudyMeta
from spaces.records.noise import Noise, pooled_noise
from spaces.records.parts import Kept, read_dataset
from spaces.records.schemas import Column
from spaces.records.shares import mean_share
from spaces.students.architecture import SHAPE_KEYS, StudentArchitecture
from spaces.students.transfer import UNTRAINED

OTHER_QUALITIES = ("trained_quality", "torch_quality", "artefact_loss")
"""Told beside quality, as means over seeds as well."""
TEACHER_ROW, FLOOR_ROW = -1, -2
SHOWN = tuple(name for name in DATASETS if name != "asked")
"""What a page is made of."""


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(ignore_metadata=True)


def _architecture_names(trials: pd.DataFrame) -> pd.Series:
    """'4x256' per trial, '' where the row has no shape (a trial that could not be built may lack one)."""
    numbers = trials[list(SHAPE_KEYS)]
    families = trials["family"] if "family" in trials else pd.Series(None, trials.index, dtype=object)
    families = families.astype(object).where(families.notna(), None)
    shapes = list(zip(numbers.itertuples(index=False, name=None), families, strict=True))
    known = set(itertools.compress(shapes, numbers.notna().all(axis=1)))
    names = {each: _name_of(*each) for each in known}
    return pd.Series([names.get(each, "") for each in shapes], trials.index, dtype=object)


def _name_of(numbers: Sequence[float], family: str | None) -> str:
    layers, width, heads, wide = map(int, numbers)
    return StudentArchitecture(layers, width, heads, wide, family).name


def _read_meta(filesystem: pyarrow.fs.FileSystem, folder: str) -> StudyMeta:
    path = f"{folder}/study.json"
    text = read_text(filesystem, path)
    if text is None:
        raise StillhouseError(f"there is no study at {folder}: {path} does not exist.")
    return StudyMeta.from_json(text, path)


@dataclass(frozen=True, eq=False)
class StudyTable:
    """Everything a study folder says. Reports, profiles and test scores are read when first asked for."""

    folder: str
    """as the user wrote it"""
    meta: StudyMeta
    """study.json"""
    trials: pd.DataFrame
    """one row per trial number, by trial number; beside the recorded columns, `architecture`: the shape's name"""
    variants: pd.DataFrame = field(default_factory=pd.DataFrame)
    """students of these trials in further precisions, as rows of the same columns under numbers of their own"""
    notes: tuple[str, ...] = ()
    """what the reader should know about the files, in sentences"""
    kept: Kept = field(default_factory=dict, repr=False)

    @cached_property
    def searched(self) -> pd.DataFrame:
        """The trials that count against the budget: neither starts nor runs of `confirm` with other seeds."""
        rows = self.trials[self.trials["method"] != UNTRAINED]
        return rows if self.meta.comparison else rows[rows["seed"] == self.meta.seed]

    @property
    def beside(self) -> dict[str, int]:
        """How many other runs have ended, by what they are."""
        starts = int((self.trials["method"] == UNTRAINED).sum())
        found = {"start": starts, "confirming run": len(self.trials) - len(self.searched) - starts}
        return {what: count for what, count in found.items() if count}

    @property
    def planned(self) -> str:
        """The budget: so many trials, or the tokens of so many whole ones where trials pause and share them."""
        count = f"{self.meta.num_trials:,}"
        return f"{count} planned" if self.decisions.empty else f"tokens of {count} whole ones planned"

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The trials that ended with scores, on the full budget of tokens."""
        return self.trials[self.trials["status"] == "finished"]

    @cached_property
    def stopped(self) -> pd.DataFrame:
        """The trials that were stopped at a rung; their quality is the one there."""
        return self.trials[self.trials["status"] == "stopped"]

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """The finished trials and their students in further precisions, by number."""
        own = self.variants[self.variants["of_trial"].isin(self.finished["trial"])] if len(self.variants) else None
        return self.finished if own is None else pd.concat([self.finished, own]).sort_values("trial")

    def trained(self, students: pd.DataFrame) -> pd.DataFrame:
        """The finished trials that trained these students; one for several precisions of one."""
        return self.finished[self.finished["trial"].isin(students["of_trial"].fillna(students["trial"]))]

    @cached_property
    def _configuration(self) -> pd.Series:
        """A number per candidate, the same for the seeds of one configuration in one precision."""
        key = [*self.meta.config_columns, "precision", "parent"]
        return self.candidates.groupby(key, dropna=False, sort=False).ngroup()

    @cached_property
    def noise(self) -> Noise:
        """Spread of quality between seeds, pooled over the configurations that ran with several."""
        number = self._configuration.loc[self.finished.index]
        return pooled_noise(group.to_numpy() for _, group in self.finished["quality"].groupby(number))

    @cached_property
    def students(self) -> pd.DataFrame:
        """The finished configurations in each precision, one row each, under the number of their first trial.

        Quality, scores and shares recovered are means over seeds; `seeds` counts them. `low` and `high` are the 95 %
        interval of quality among students, from the noise between seeds (NaN when no configuration of the study ran
        with two). `share_low` and `share_high` are that of quality as a share of the teacher's gain, where the number
        of dev examples counts as well; `error_TASK` is the standard error of a task's share by that number. `speed` is
        the teacher's latency over the student's.
        """
        rows, number = self.candidates, self._configuration
        counts = number.groupby(number).transform("size")
        students = rows[~number.duplicated()].assign(seeds=counts[~number.duplicated()])
        if (counts > 1).any():
            means = [
                *(name for name in (*QUALITY_COLUMNS, *OTHER_QUALITIES) if name in rows),
                *(f"{kind}_{task}" for task in self.tasks for kind in ("score", "recovered")),
            ]
            averaged = rows[means].groupby(number).transform("mean")
            students[means] = averaged.loc[students.index]
        errors = {count: self.noise.errors(count) for count in students["seeds"].unique()}
        below, above = (students["seeds"].map({count: pair[end] for count, pair in errors.items()}) for end in (0, 1))
        if self.noise.known:  # which a start has none of
            trained = students["method"] != UNTRAINED
            below, above = below.where(trained, 0.0), above.where(trained, 0.0)
        students = students.assign(low=students["quality"] - above, high=students["quality"] - below)
        return with_share_intervals(students, self.meta.tasks).assign(**self._inverses(students))

    def seeds_of(self, rows: pd.DataFrame) -> np.ndarray:
        """How many seeds the quality of students is the mean of; of a start, which no seed moves, endlessly many."""
        return np.where(rows["method"] == UNTRAINED, np.inf, rows["seeds"].to_numpy(dtype=float))

    @cached_property
    def as_trained(self) -> pd.DataFrame:
        """The students with the quality that their training led to, also where it was lower and the start was kept.

        Only in the precision that the search went by.
        """
        own = self.students[self.students["status"] == "finished"]
        return own.assign(quality=own["trained_quality"].fillna(own["quality"]))

    @property
    def without_teacher(self) -> pd.DataFrame:
        """Of `as_trained` those that trained without the teacher."""
        return self.as_trained[self.as_trained["method"].isin(WITHOUT_TEACHER)]

    def _inverses(self, rows: pd.DataFrame) -> dict[str, pd.Series]:
        """Of each cost that people tell by its reciprocal, that in units of the teacher's: `speed`."""
        return {
            cost.inverse: (self.meta.teacher.costs.get(cost.column) or float("nan")) / rows[cost.column]
            for cost in COSTS.values()
            if cost.inverse
        }

    @property
    def warnings(self) -> list[str]:
        """Tasks whose shares say little, and what to do, in sentences."""
        found = [task.gap.warning(name, "dev") for name, task in self.meta.tasks.items()]
        return [f"{line[0].upper()}{line[1:]}." for line in found if line]

    def mean_shares(self, scores: pd.DataFrame, by: Sequence[str]) -> pd.Series:
        """The mean share by group of rows with `task` and `recovered`, as quality is one; of repeats the last row."""
        groups, weights = dict(list(scores.groupby(list(by)))), self.meta.weights
        index = pd.MultiIndex.from_tuples(groups, names=by) if len(by) > 1 else pd.Index([key for (key,) in groups])
        shares = [dict(zip(rows["task"], rows["recovered"], strict=True)) for rows in groups.values()]
        return pd.Series([mean_share(each, weights) for each in shares], index, dtype=float)

    @cached_property
    def costs(self) -> tuple[Cost, ...]:
        """The costs that were measured on any student."""
        return tuple(cost for cost in COSTS.values() if self.trials[cost.column].notna().any())

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names, in the order of the spec."""
        return tuple(self.meta.tasks)

    @cached_property
    def reports(self) -> pd.DataFrame:
        """Every report of every trial."""
        return self._dataset("reports", reports_columns())

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """What the schedule freeze_thaw decided about trials, and against what."""
        return self._dataset("decisions", decisions_columns())

    @cached_property
    def test_scores(self) -> pd.DataFrame:
        """Scores on the test split; trial -1 is the teacher, -2 the floor."""
        return self._dataset("test_scores", test_scores_columns())

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """Scores of the teacher cut to the shapes of students, without distillation; `architecture` names the shape."""
        rows = self._dataset("baselines", baselines_columns())
        return rows.assign(architecture=_architecture_names(rows))

    @cached_property
    def profiles(self) -> pd.DataFrame:
        """Costs measured again on other devices (`stillhouse profile`); trial -1 is the teacher."""
        return self._dataset("profiles", profiles_columns())

    @cached_property
    def spec(self) -> str:
        """The resolved spec as written, '' when there is none."""
        filesystem, path = open_filesystem(self.folder)
        return read_text(filesystem, f"{path}/spec.toml") or ""

    def _dataset(self, name: str, columns: Sequence[Column]) -> pd.DataFrame:
        filesystem, path = open_filesystem(self.folder)
        return _to_pandas(read_dataset(filesystem, f"{path}/{name}", columns, self.kept))

    def reports_of(self, trials: Iterable[int]) -> pd.DataFrame:
        """Reports of some trials: opens only the files that should have them, when those have some of each."""
        wanted = {int(trial) for trial in trials}
        filesystem, path = open_filesystem(self.folder)
        rows = _to_pandas(read_dataset(filesystem, f"{path}/reports", reports_columns(), self.kept, wanted))
        if not wanted <= set(rows["trial"]):
            rows = self.reports
        return rows[rows["trial"].isin(wanted)]

    def with_profile(self, name: str) -> Self:
        """The study with the latencies of a measured profile, given by its name or an unambiguous start of it.

        A trial that the profile lacks has no latency in it. Limits of the study on latency are kept.
        """
        names = sorted(set(self.profiles["profile"]))
        if not names:
            raise StillhouseError(f"{self.folder} holds no profiles. To measure one: stillhouse profile {self.folder}")
        matching = [known for known in names if known.startswith(name)]
        full = matching[0] if len(matching) == 1 else choose("profile", {known: known for known in names}, name)
        rows = self.profiles[self.profiles["profile"] == full].drop_duplicates("trial", keep="last").set_index("trial")
        columns = [column.name for cost in PROFILED for column in cost.columns]
        measured = [
            each.assign(**rows[[*columns, "hardware"]].reindex(each["trial"]).set_axis(each.index))
            if len(each)
            else each
            for each in (self.trials, self.variants)
        ]
        costs = dict(self.meta.teacher.costs)
        for column in columns:
            costs[column] = float(rows.loc[TEACHER_ROW, column]) if TEACHER_ROW in rows.index else None
        first = rows.iloc[0]
        meta = replace(
            self.meta,
            teacher=replace(self.meta.teacher, costs=costs),
            latency=LatencySpec(**{key: first[key] for key in PassSpec.__dataclass_fields__}),
            hardware=first["hardware"],
        )
        how = " ".join(each for each in (first["runtime"], first["precision"]) if pd.notna(each))
        note = f"Latency as measured by profile {full} ({first['hardware']}, {how})."
        return replace(self, meta=meta, trials=measured[0], variants=measured[1], notes=(*self.notes, note))


def load_table(folder: str, kept: Kept | None = None) -> StudyTable:
    """Read and check a study folder (a local path or a URI). `kept` holds parts from an earlier look."""
    filesystem, path = open_filesystem(folder)
    meta = _read_meta(filesystem, path)
    kept = {} if kept is None else kept
    columns = trials_columns(list(meta.tasks), bool(meta.languages), meta.axes)
    trials = _to_pandas(read_dataset(filesystem, f"{path}/trials", columns, kept))
    notes = []
    if absent := [name for name in meta.costs if name not in COSTS]:
        notes.append(f"Measured by a package that is not installed here: {', '.join(absent)}.")
    if meta.unknown:
        notes.append(f"study.json says more than this version of stillhouse knows: {', '.join(meta.unknown)}.")
    if repeated := sorted(set(trials.loc[trials["trial"].duplicated(), "trial"])):
        trials = trials.drop_duplicates("trial", keep="last")
        shown = ", ".join(str(number) for number in repeated[:10]) + (", ..." if len(repeated) > 10 else "")
        notes.append(f"Recorded more than once, where the last row counts: trial {shown}.")
    trials = trials.assign(architecture=_architecture_names(trials))
    if "family" in trials:
        trials["family"] = trials["family"].fillna(meta.teacher.family)
    if trials.empty:
        notes.append("No trial has ended yet: the study folder holds no rows.")
    trials = trials.sort_values("trial", ignore_index=True)
    is_variant = trials["status"] == "variant"
    return StudyTable(str(folder), meta, trials[~is_variant], trials[is_variant], tuple(notes), kept)
