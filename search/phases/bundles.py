"""Costs measured where students will run: a folder to carry there, and what it found taken into the study.

The folder holds a file for each shape and for the teacher, and a program that needs numpy and the package that runs the
files alone (trainables/export/bundle_script.py). The scales of int8 files come from random tokens: they are for timing.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from search.phases.data import prepare_for_both
from search.phases.profiling import measured_students, students_named
from search.phases.students import TEACHER, local_student
from search.store.contents import stored_data, stored_table
from search.store.parts import Store
from spaces.errors import SpecError, StillhouseError
from spaces.records.latency import FIXED, STEADY, ProfileSpec
from spaces.records.rows import TrialRow
from spaces.records.runtimes import FILE_RUNTIMES, RUNTIMES
from spaces.settings import problems_of
from spaces.students.architecture import architecture_of
from spaces.telling import Say, quiet
from spaces.values import from_json
from trainables.cache import digest, new_folder
from trainables.export import bundle_script
from trainables.export.inputs import TURNS, batches_of
from trainables.export.measuring import files_of
from trainables.models.loading import load_model, quiet_transformers
from trainables.models.teacher import Teacher, load_teacher
from trainables.tasks.lengths import typical_lengths
from trainables.tasks.scoring import load_task

FORMAT = 1
SCRIPT, CONTENTS = "measure.py", "bundle.json"
ENDS = ("latency_p50_low_ms", "latency_p50_high_ms", "latency_p95_low_ms", "latency_p95_high_ms")


@dataclass(frozen=True)
class MeasuredRow:
    """What was found for one file."""

    name: str
    trials: tuple[int, ...]
    """that have its shape; -1 the teacher"""
    latency_p50_ms: float
    latency_p95_ms: float
    latency_moved: float
    runs: int
    disk_mb: float
    latency_p50_low_ms: float | None = None
    """ends of 95 % intervals; None in what earlier programs wrote"""
    latency_p50_high_ms: float | None = None
    latency_p95_low_ms: float | None = None
    latency_p95_high_ms: float | None = None


@dataclass(frozen=True)
class Measured:
    """measured.json, written on another machine."""

    format: int
    study: str
    """what the study is, as `identity` has it"""
    setting: ProfileSpec
    rows: tuple[MeasuredRow, ...]
    hardware: str
    versions: Mapping[str, str]
    measured_at: datetime


def identity(store: Store) -> str:
    """What a study is, whatever its folder is called."""
    study = store.read_meta()
    return digest(study.created, study.teacher.digest, study.space_digest)


def write_bundle(folder: str, setting: ProfileSpec, trials: Sequence[int] | None, target: str, say: Say) -> None:
    """Write a folder with the files of the teacher and of the shapes of these trials (all finished ones unless told).

    Raises SpecError for a runtime that has no file, StillhouseError for trials or weights that are not there.
    """
    if setting.runtime not in FILE_RUNTIMES:
        choices = " or ".join(f"--runtime {name}" for name in FILE_RUNTIMES)
        raise SpecError([f"--bundle carries files, and {setting.runtime!r} has none: add {choices}"])
    runtime = RUNTIMES[setting.runtime]
    store, to = Store.of(folder), Path(target)
    if to.exists():
        raise SpecError([f"{to} is there already; give a folder that is not"])
    finished = measured_students(store, setting)
    asked = finished.values() if trials is None else students_named(store, finished, trials)
    wanted = {architecture_of(row.config) for row in asked}
    by_shape: dict[Any, list[TrialRow]] = {}
    for row in finished.values():
        by_shape.setdefault(architecture_of(row.config), []).append(row)
    students = []
    with new_folder(to) as unfinished, quiet_transformers():
        table = stored_table(store)
        teacher = load_teacher(table["teacher"]["path"])
        lengths = () if setting.lengths == FIXED else lengths_of_tasks(table, teacher, setting)
        students.append(_add(unfinished, "teacher", [TEACHER], teacher.model, setting))
        for shape in sorted(wanted, key=lambda each: each.name):
            rows = by_shape[shape]
            kept = next((row for row in rows if row.student_path), rows[0])
            with local_student(store, kept) as student:
                model = load_model(student).eval()
            students.append(_add(unfinished, shape.name, [row.trial for row in rows], model, setting))
        contents = {
            "format": FORMAT, "study": identity(store), "setting": asdict(setting), "students": students,
            "engine": runtime.engine, "batches": batches_of(setting, lengths),
        }  # fmt: skip
        (unfinished / CONTENTS).write_text(json.dumps(contents, indent=1), encoding="utf-8")
        shutil.copyfile(str(bundle_script.__file__), unfinished / SCRIPT)
    size_mb = sum(path.stat().st_size for path in to.iterdir()) / 1e6
    say(f"{to}: {len(students)} files for {runtime.engine}, {size_mb:.0f} MB. Where they will run:")
    say(f"  pip install {runtime.engine} numpy; python {SCRIPT}")
    say(f"then here: stillhouse profile {folder} --import measured.json")


def lengths_of_tasks(table: Mapping[str, Any], teacher: Teacher, setting: ProfileSpec) -> tuple[int, ...]:
    """Lengths of texts as the tasks of a study have them, for as many batches as take turns.

    Raises SpecError for a task that cannot be read on this machine.
    """
    data = stored_data(table)
    tasks = [load_task(prepare_for_both(data.evaluation, task, teacher, quiet)) for task in data.tasks]
    return typical_lengths(tasks, TURNS * setting.batch_size)


def _add(to: Path, name: str, trials: list[int], model: PreTrainedModel, setting: ProfileSpec) -> dict[str, Any]:
    runtime = RUNTIMES[setting.runtime]
    target = to / f"{name}-{runtime.file(setting.precision)}"
    with files_of(model, setting, setting.runtime, setting.precision) as files:
        for part, copy in zip(runtime.parts(files[setting.precision][1]), runtime.parts(target), strict=True):
            shutil.copyfile(part, copy)
    beside = [part.name for part in runtime.parts(target)[1:]]
    size = model.config.vocab_size
    return {"name": name, "file": target.name, "beside": beside, "trials": trials, "vocab_size": size}


def import_bundle(folder: str, file: str, *, name: str | None, say: Say) -> str:
    """Take what was measured elsewhere into the profiles of a study; returns the name of the profile.

    Raises StillhouseError for a file that is of another study, or not what the program of a bundle writes.
    """
    store, found = Store.of(folder), read_measured(Path(file))
    if found.study != identity(store):
        raise StillhouseError(f"{file} was measured with a bundle of another study than {folder}")
    known = {TEACHER, *(row.trial for row in store.read_trials())}
    if strange := sorted({trial for row in found.rows for trial in row.trials} - known):
        raise StillhouseError(f"{file} tells of trials that {folder} does not have: {', '.join(map(str, strange))}")
    fingerprint = digest(found.hardware, found.versions.get(RUNTIMES[found.setting.runtime].engine))[:8]
    name = name or f"{found.setting.name}-{fingerprint}"
    shared = {
        "profile": name, **asdict(found.setting), "hardware": found.hardware, "fingerprint": fingerprint,
        "versions": json.dumps(found.versions, sort_keys=True), "measured_at": found.measured_at,
    }  # fmt: skip
    costs = [each.name for each in fields(MeasuredRow) if each.name not in ("name", "trials")]
    rows = [
        {**shared, **{key: getattr(row, key) for key in costs}, "trial": trial}
        for row in found.rows
        for trial in row.trials
    ]
    with store.locked(say):
        store.write_part("profiles", max(store.numbers("profiles"), default=-1) + 1, rows)
    busy = [row.name for row in found.rows if row.latency_moved > STEADY]
    if busy:
        say(f"warning: the machine was busy: latency moved by more than {STEADY:.0%} in {', '.join(busy)}")
    say(f"{len(found.rows)} files, measured on {found.hardware}: profile {name}")
    return name


def read_measured(file: Path) -> Measured:
    """The content of measured.json, checked. Raises StillhouseError with what is wrong."""
    try:
        found = from_json(Measured, file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise StillhouseError(f"{file} is not what {SCRIPT} of a bundle writes: {error}") from error
    problems = problems_of("setting", found.setting)
    if found.format != FORMAT:
        problems.append(f"format must be {FORMAT}, got {found.format}")
    for row in found.rows:
        values = (row.latency_p50_ms, row.latency_p95_ms)
        ends = [getattr(row, name) for name in ENDS if getattr(row, name) is not None]
        if (
            not all(math.isfinite(each) and each > 0 for each in (*values, *ends))
            or not row.latency_moved >= 0
            or row.runs < 1
        ):
            problems.append(f"{row.name}: latencies must be above 0, got {values[0]!r} and {values[1]!r}")
    if problems:
        raise StillhouseError(f"{file} is not what {SCRIPT} of a bundle writes: {'; '.join(problems)}")
    return found
