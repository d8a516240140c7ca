"""Costs of the shapes of a study, measured while no trial competes for the cores, and as if side by side.

A machine is not always as fast. So each latency carries its pace: what a fixed piece of work took at that moment. One
that is known from before counts only where the pace is still the same; what was measured at another pace than the rest,
or moved while it was measured, is measured again. What never settles is marked as a guess, and beyond REFUSED a study
that decides by latency is refused before its first trial.
"""

import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.phases.latency_doors import refuse_unsettled
from search.spec.sections import StudySpec
from spaces.records.costs import LATENCY, columns_of_costs
from spaces.records.latency import FIXED, MAX_SHAPES, STEADY
from spaces.space.search_space import SearchSpace
from spaces.students.architecture import StudentArchitecture
from spaces.telling import Say, announced
from trainables.cache import cache_folder, digest, read_value, store_value
from trainables.export.inputs import TURNS
from trainables.export.measuring import measure
from trainables.export.timing import reference_ms
from trainables.machine import hardware, versions_of
from trainables.models.student import untrained
from trainables.models.teacher import Teacher
from trainables.tasks.lengths import typical_lengths
from trainables.tasks.scoring import load_task

SHAPE_S = 2.0
"""What measuring one takes, about; twice that or more on a busy machine."""
REPEATS = 2
"""How often what did not settle is measured again, after all others."""
PACE = "pace_ms"
"""Beside the columns of costs: what the fixed piece of work took."""


def shapes_to_measure(space: SearchSpace) -> list[StudentArchitecture]:
    """Those of a space, none where there are too many."""
    shapes = {architecture for each in space.feasible.values() for architecture in each}
    return sorted(shapes, key=shape_key) if len(shapes) <= MAX_SHAPES else []


def shape_key(architecture: StudentArchitecture) -> str:
    """A name for a shape that leaves nothing out."""
    return "-".join(str(value) for value in vars(architecture).values() if value is not None)


def timed_lengths(spec: StudySpec, tasks: Iterable[Path], say: Say) -> tuple[int, ...]:
    """Of the texts that latency is measured on; none: full sequences. `tasks` are the prepared folders."""
    if spec.latency.lengths == FIXED:
        return ()
    found = typical_lengths([load_task(folder) for folder in tasks], TURNS * spec.latency.batch_size)
    half, most = np.percentile(found, [50, 95])
    say(f"costs: latency of texts as long as those of the tasks, {half:.0f} tokens on the median, {most:.0f} at p95")
    return found


def measure_shapes(
    spec: StudySpec,
    space: SearchSpace,
    teacher: Teacher,
    say: Say,
    later_s: float,
    pace_ms: float | None = None,
    lengths: tuple[int, ...] = (),
) -> tuple[dict[str, dict[str, Any]], float]:
    """Cost columns by `shape_key`, and of the teacher under "teacher"; and the pace at which they were measured.

    later_s: of the preparation after this. pace_ms: that of the study so far; None: as the machine is now. lengths:
    those of `timed_lengths`. Raises SpecError where latency decides and does not settle.
    """
    todo = {"teacher": teacher.facts.architecture}
    todo |= {shape_key(architecture): architecture for architecture in shapes_to_measure(space)}

    def of(name: str) -> Teacher:
        return teacher.itself if name == "teacher" else teacher.source

    if len(todo) == 1:
        say(f"more than {MAX_SHAPES} shapes: each trial measures its own costs")
    pace_ms = pace_ms or reference_ms(spec.latency)
    found, moved = {}, []
    what = f"costs of {spec.deploy.name}: {{}} shapes" if spec.deploy.is_file else "costs: {} shapes"
    for name, architecture in announced(list(todo.items()), what, say, later_s=later_s):
        known = place_of(spec, of(name), architecture, lengths)
        found[name] = read_value(known) if known.is_dir() else {}
        if PACE in found[name] and is_apart(found[name][PACE], pace_ms):
            moved.append(found[name][PACE])
        if PACE not in found[name] or is_apart(found[name][PACE], pace_ms):
            found[name] = measured(spec, of(name), architecture, lengths)
    if moved:
        say(
            f"costs: {len(moved)} shapes were measured before, when the machine was {faster(moved, pace_ms)}: measured "
            "again"
        )
    for _ in range(REPEATS):
        for name in [name for name, costs in found.items() if doubt(costs, pace_ms) > STEADY]:
            again = measured(spec, of(name), todo[name], lengths)
            found[name] = min(found[name], again, key=lambda costs: doubt(costs, pace_ms))
    refuse_unsettled(spec, {whose(name, todo): costs for name, costs in found.items()})
    tell_guesses(found, todo, pace_ms, say)
    for costs in found.values():
        del costs[PACE]
    return found, pace_ms


def place_of(spec: StudySpec, teacher: Teacher, architecture: StudentArchitecture, lengths: tuple[int, ...]) -> Path:
    """Where the costs of a shape are kept, for all studies on such a machine."""
    facts, setting = teacher.facts, (*dataclasses.astuple(spec.latency), lengths)
    if spec.deploy.is_file:
        setting = (*setting, spec.deploy.name, *versions_of(spec.deploy.runtime))
    columns = sorted(column.name for column in columns_of_costs())
    own = (facts.family.name, facts.vocab_size, facts.max_positions, shape_key(architecture))
    return (
        cache_folder()
        / "latency"
        / digest(6, hardware(spec.latency.device), torch.__version__, *own, *setting, *columns)
    )


def measured(
    spec: StudySpec, teacher: Teacher, architecture: StudentArchitecture, lengths: tuple[int, ...]
) -> dict[str, Any]:
    """The costs of a shape and the pace of the machine; kept where the latency was steady."""
    pace_ms = reference_ms(spec.latency)
    student, facts = untrained(teacher, architecture, 0), teacher.facts
    costs = measure(student, architecture, facts, spec.latency, spec.deploy, lengths)
    found, known = {**costs, PACE: pace_ms}, place_of(spec, teacher, architecture, lengths)
    if LATENCY.is_steady(found):
        shutil.rmtree(known, ignore_errors=True)
        store_value(known, found)
    return found


def is_apart(one_ms: float, other_ms: float) -> bool:
    """Whether the machine was another one at these moments, as far as latencies go."""
    return max(one_ms, other_ms) / min(one_ms, other_ms) - 1 > STEADY


def doubt(costs: Mapping[str, Any], pace_ms: float) -> float:
    """By what share a latency moved, or the machine was at another pace: the larger of the two."""
    apart = max(costs[PACE], pace_ms) / min(costs[PACE], pace_ms) - 1
    return max(LATENCY.moved(costs), apart)


def whose(name: str, shapes: Mapping[str, StudentArchitecture]) -> str:
    """What costs are of, in words."""
    return "the teacher" if name == "teacher" else shapes[name].name


def faster(before: Iterable[float], now_ms: float) -> str:
    """'up to 1.4 times faster', or 'up to 1.4 times slower', by the one that is furthest away."""
    times = max((now_ms / each for each in before), key=lambda each: max(each, 1 / each))
    return f"up to {times:.1f} times faster" if times > 1 else f"up to {1 / times:.1f} times slower"


def tell_guesses(
    found: dict[str, dict[str, Any]], shapes: dict[str, StudentArchitecture], pace_ms: float, say: Say
) -> None:
    """Latencies that moved while they were measured, or were measured at another pace than the rest; a line each."""
    restless = {name: LATENCY.moved(costs) for name, costs in found.items() if not LATENCY.is_steady(costs)}
    apart = {
        name: costs[PACE] for name, costs in found.items() if name not in restless and is_apart(costs[PACE], pace_ms)
    }
    if restless:
        say(
            f"warning: while it was measured the latency of {listed(restless, shapes)} moved by "
            f"{up_to(restless)}{max(restless.values()):.0%}: the machine is busy, and this is a guess"
        )
    if apart:
        say(
            f"warning: when the latency of {listed(apart, shapes)} was measured the machine was "
            f"{faster(apart.values(), pace_ms)} than for the others: compare with care, or see stillhouse profile"
        )


def listed(names: Iterable[str], shapes: Mapping[str, StudentArchitecture]) -> str:
    """'2x96h6, 3x96h6 and the teacher'."""
    *most, last = (whose(name, shapes) for name in names)
    return f"{', '.join(most)} and {last}" if most else last


def up_to(several: Sized) -> str:
    """Before the largest of several numbers."""
    return "up to " if len(several) > 1 else ""
