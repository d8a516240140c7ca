"""Costs measured again: the students of a study on this machine, with another device, runtime or shape of input.

Nothing is trained and no row of a trial changes: the numbers go to the dataset `profiles` of the study folder, under a
name that carries the setting and a fingerprint of the machine. Latency follows from the shape, so one student of each
shape is measured and all trials of that shape get the number; a measurement that was interrupted goes on.
What moves too much while it is measured is not taken, and missing to the next call.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from transformers import PreTrainedModel

from search.phases.students import TEACHER, local_student
from search.store.contents import stored_table
from search.store.parts import Store, now
from spaces.errors import StillhouseError, choose
from spaces.records.costs import LATENCY
from spaces.records.latency import FIXED, REFUSED, ProfileSpec
from spaces.records.rows import STUDENTS, TrialRow
from spaces.records.runtimes import RUNTIMES, TORCH, check_precision, need_runtime
from spaces.students.architecture import architecture_of
from trainables.export.measuring import LATENCIES, measure_peak_memory
from trainables.machine import fingerprint, hardware, versions
from trainables.models.loading import load_model, quiet_transformers
from trainables.models.teacher import load_teacher


def profile_study(
    folder: str, setting: ProfileSpec, trials: Sequence[int] | None, *, name: str | None, say: Callable[[str], None]
) -> str:
    """Measure the teacher and the shapes of these trials (all finished ones unless told); returns the name."""
    choose("runtime", LATENCIES, setting.runtime)
    if setting.lengths != FIXED:
        raise StillhouseError(
            "--lengths tasks is of a bundle: add --bundle TO. Here all texts are as long: say --length N, or search "
            "with [latency] lengths = 'tasks'"
        )
    check_precision(setting.runtime, setting.precision)
    need_runtime(setting.runtime, setting.device)
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise StillhouseError("this machine has no CUDA device that torch can use; measure with --device cpu")
    store = Store.of(folder)
    finished = measured_students(store, setting)
    wanted = list(finished.values()) if trials is None else students_named(store, finished, trials)
    name = name or f"{setting.name}-{fingerprint(setting.runtime, setting.device)}"
    done = {row["trial"] for row in store.read_rows("profiles") if row["profile"] == name}
    shapes: dict[Any, list[int]] = {}
    for trial, row in finished.items():
        shapes.setdefault(architecture_of(row.config), []).append(trial)
    todo = [shape for shape in shapes if shape in {architecture_of(row.config) for row in wanted}]
    refused: list[str] = []
    with store.locked(say), quiet_transformers():
        if TEACHER not in done:
            teacher = load_teacher(stored_table(store)["teacher"]["path"])
            _record(store, name, setting, [TEACHER], teacher.model, say, "teacher", refused)
        for shape in sorted(todo, key=lambda each: each.name):
            if missing := [trial for trial in shapes[shape] if trial not in done]:
                kept = [trial for trial in shapes[shape] if finished[trial].student_path]
                if not kept and trials is None:
                    say(f"{shape.name:<12} not measured: no student of this shape was kept (see [storage] quota_gb)")
                    continue
                with local_student(store, finished[(kept or missing)[0]]) as student:
                    model = load_model(student).eval()
                _record(store, name, setting, missing, model, say, shape.name, refused)
    if refused:
        raise StillhouseError(
            f"latencies of {', '.join(refused)} moved by more than {REFUSED:.0%} while they were measured, which is no "
            "number: they were not taken. The same command on an idle machine, or with --threads 1, measures what is "
            "missing"
        )
    return name


def measured_students(store: Store, setting: ProfileSpec) -> dict[int, TrialRow]:
    """Students by number: finished trials, or the rows in the precision of the setting, where a study has several."""
    rows = [row for row in store.read_trials() if row.status in STUDENTS]
    own = {row.trial: row for row in rows if row.precision == setting.precision}
    return own or {row.trial: row for row in rows if row.status == "finished"}


def students_named(store: Store, students: Mapping[int, TrialRow], trials: Sequence[int]) -> list[TrialRow]:
    """Of these students those that the numbers name, in the precision that they are in.

    A student is named by its trial as well as by its row in any precision. Raises StillhouseError for other numbers.
    """
    owners = {row.trial: row.owner for row in store.read_trials() if row.status in STUDENTS}
    by_owner = {row.owner: row for row in students.values()}
    if missing := [trial for trial in trials if owners.get(trial) not in by_owner]:
        raise StillhouseError(f"{store.folder} has no finished trial {', '.join(map(str, missing))}")
    return [by_owner[owners[trial]] for trial in trials]


def _record(
    store: Store,
    name: str,
    setting: ProfileSpec,
    trials: Sequence[int],
    model: PreTrainedModel,
    say: Callable[[str], None],
    what: str,
    refused: list[str],
) -> None:
    """Measure a model and write the rows of its trials; its name goes to `refused` where the latency is no number."""
    left_out = {"runtime", "lengths"} | (set() if RUNTIMES[setting.runtime].files else {"precision"})
    options = {key: value for key, value in asdict(setting).items() if key not in left_out}
    latency = LATENCIES[setting.runtime](model, **options)
    del options["threads"]
    memory_mib = measure_peak_memory(model, **options) if setting.runtime == TORCH else None
    row = {
        "profile": name, **asdict(setting), **latency.columns,
        "runs": latency.runs, "disk_mb": latency.disk_mb, "peak_memory_mib": memory_mib,
        "hardware": hardware(setting.device),
        "fingerprint": fingerprint(setting.runtime, setting.device), "versions": json.dumps(versions(), sort_keys=True),
        "measured_at": now(),
    }  # fmt: skip
    if LATENCY.is_refused(row):
        refused.append(what)
    else:
        number = max(store.numbers("profiles"), default=-1) + 1
        store.write_part("profiles", number, [{**row, "trial": trial} for trial in trials])
    busy = "" if LATENCY.is_steady(row) else f"; it moved by {latency.moved:.0%} meanwhile: the machine is busy"
    size = "" if latency.disk_mb is None else f", {latency.disk_mb:.1f} MB"
    say(f"{what:<12} {latency.p50_ms:8.2f} ms (95 %: {latency.p95_ms:.2f} ms, {latency.runs} passes){size}{busy}")
