"""The study spec: TOML in, frozen and checked values out, and back to TOML beside the results.

Every problem is collected before anything is raised, so that a spec is corrected once. The keys stand in sections.py;
the axes of `[space]` belong to spaces/space/search_space.py, which is asked as soon as the teacher is known.
"""

import copy
import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tomli_w

from search.spec.languages import by_language, objective_problems
from search.spec.paths import resolve_paths, resolve_teacher
from search.spec.reading import is_int, read_section, show
from search.spec.sections import (
    SECTIONS,
    TOP_LEVEL,
    TRACKERS,
    StudySpec,
)
from spaces.errors import SpecError, nearest
from spaces.records.objectives import OBJECTIVES
from spaces.space.comparison import count_trials
from spaces.space.search_space import SearchSpace
from spaces.students.architecture import TeacherFacts, parse_shape
from trainables.tasks.spec import TaskSpec, task_problems

NO_IDENTITY = (
    "cluster",
    "logging",
    "storage",
    "budget.trials",
    "name",
    "training.checkpoint_every_s",
    "targets.mode",
    "targets.quota_gb",
)
"""What may change between the runs of one study: where it runs and how long, never what a trial is."""


def load_table(path: str | Path) -> tuple[dict[str, Any], Path]:
    """The raw TOML table and the folder that its relative paths start from."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([f"there is no spec file {str(path)!r}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"cannot be read: {error}"], source=str(path)) from None
    try:
        return tomllib.loads(text), path.resolve().parent
    except tomllib.TOMLDecodeError as error:
        raise SpecError([f"is not valid TOML: {error}"], source=str(path)) from None


def read_spec(table: Mapping[str, Any], folder: Path, source: str | None = None) -> StudySpec:
    """Check all sections and resolve relative paths against `folder`; `[space]` is left to `check_all`."""
    spec, problems = _parse(table, folder, source)
    if problems or spec is None:
        raise SpecError(problems, source=source)
    return spec


def check_all(
    table: Mapping[str, Any], folder: Path, source: str | None, read_facts: Callable[[str], TeacherFacts]
) -> tuple[StudySpec, SearchSpace, TeacherFacts]:
    """The spec, its space and its teacher, or one SpecError with the problems of all three.

    `read_facts(path)` describes a teacher.
    """
    spec, problems = _parse(table, folder, source)
    facts, space = None, None
    teacher = table.get("teacher")
    path = teacher.get("path") if isinstance(teacher, Mapping) else None
    if isinstance(path, str) and not any(p.startswith("[teacher]") for p in problems):
        try:
            facts = read_facts(resolve_teacher(path, folder, []))
        except SpecError as error:
            problems += [p if p.startswith("[") else f"[teacher] {p}" for p in error.problems]
    axes = table.get("space")
    if facts is not None and isinstance(axes, Mapping):
        corpus = table.get("corpus")
        length = corpus.get("sequence_length", 128) if isinstance(corpus, Mapping) else 128
        length = length if isinstance(length, int) and not isinstance(length, bool) else 128
        try:
            space = SearchSpace.from_table(dict(axes), facts, length)
        except SpecError as error:
            problems += [p if p.startswith("[") else f"[space] {p}" for p in error.problems]
        if spec is not None:
            problems += _against_teacher(spec, facts)
    if spec is not None and space is not None:
        problems += _against_space(spec, space)
    if problems or spec is None or space is None or facts is None:
        raise SpecError(problems, source=source)
    return planned(dataclasses.replace(spec, space=space.to_table()), space), space, facts


def planned(spec: StudySpec, space: SearchSpace) -> StudySpec:
    """A comparison settles how its trials are chosen, and how many there are."""
    if spec.comparison.seeds is None:
        return spec
    search = dataclasses.replace(spec.search, sampler="grid")
    budget = dataclasses.replace(spec.budget, trials=sum(count_trials(space, spec.comparison.seeds)))
    return dataclasses.replace(spec, search=search, budget=budget)


def to_table(spec: StudySpec) -> dict[str, Any]:
    """The resolved spec as a plain table, without the fields that are unset."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items() if v is not None}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return value

    return plain(dataclasses.asdict(spec))


def to_toml(spec: StudySpec) -> str:
    """The resolved spec as TOML that `read_spec` accepts again."""
    return tomli_w.dumps(to_table(spec))


def differences(stored: StudySpec, wanted: StudySpec) -> list[str]:
    """Every setting that makes two specs different studies, as `key: stored there, wanted here`."""
    left, right = _identity(stored), _identity(wanted)
    return [
        f"{key}: {show(left.get(key))} in the study, {show(right.get(key))} in the spec"
        for key in sorted(set(left) | set(right))
        if left.get(key) != right.get(key)
    ]


def _identity(spec: StudySpec) -> dict[str, Any]:
    table = copy.deepcopy(to_table(spec))
    flat: dict[str, Any] = {}
    for section, value in table.items():
        if isinstance(value, dict):
            flat |= {f"{section}.{key}": v for key, v in value.items()}
        else:
            flat[section] = value
    return {k: v for k, v in flat.items() if k not in NO_IDENTITY and k.partition(".")[0] not in NO_IDENTITY}


def _parse(table: Mapping[str, Any], folder: Path, source: str | None) -> tuple[StudySpec | None, list[str]]:
    problems: list[str] = []
    for key in table:
        if key not in TOP_LEVEL:
            problems.append(f"unknown section or key {key!r}.{nearest(key, TOP_LEVEL)} Known: {', '.join(TOP_LEVEL)}")
    values: dict[str, Any] = {
        "name": table.get("name", Path(source).stem if source else "study"),
        "seed": table.get("seed", 0),
        "space": table.get("space", {}),
    }
    if not isinstance(values["name"], str) or not values["name"].strip():
        problems.append(f"name: must be a text, got {values['name']!r}")
    if not is_int(values["seed"]) or not 0 <= values["seed"] < 2**31:
        problems.append(f"seed: must be a whole number from 0 to 2147483647, got {values['seed']!r}")
    if not isinstance(values["space"], dict):
        problems.append(f"[space] must be a table, got {values['space']!r}")
    for title, section in SECTIONS.items():
        values[title] = read_section(f"[{title}]", section, table.get(title, {}), problems)
    values["tasks"] = _read_tasks(table.get("tasks", []), problems)
    if problems:
        return None, problems
    spec = StudySpec(**values)
    problems += _cross_rules(spec)
    return resolve_paths(spec, folder, problems), problems


def _read_tasks(entries: Any, problems: list[str]) -> tuple[Any, ...]:
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        problems.append("[[tasks]] must be written with double brackets, one block per task")
        return ()
    if not entries:
        problems.append("[[tasks]]: at least one task is needed, since trials are compared by their task scores")
    entries = by_language(entries, problems)
    tasks = [
        read_section(f"[[tasks]] {e.get('name', f'number {i + 1}')}", TaskSpec, e, problems)
        for i, e in enumerate(entries)
    ]
    names = [e.get("name") for e in entries]
    for name in sorted({n for n in names if isinstance(n, str) and names.count(n) > 1}):
        problems.append(f"[[tasks]] {name}: the name is used {names.count(name)} times")
    for name in names:
        if isinstance(name, str) and not name.replace("_", "").replace("-", "").isalnum():
            problems.append(f"[[tasks]] {name}: name may hold letters, digits, - and _ only, since it becomes a column")
    return tuple(tasks)


def _cross_rules(spec: StudySpec) -> list[str]:
    problems = []
    objectives = spec.search.objectives
    for name in [*objectives, *spec.search.constraints]:
        if name not in OBJECTIVES:
            problems.append(
                f"[search] unknown objective {name!r}.{nearest(name, list(OBJECTIVES))} Known: {', '.join(OBJECTIVES)}"
            )
    if "quality" not in objectives:
        problems.append(f"[search] objectives must hold 'quality', got {list(objectives)}")
    problems += objective_problems(spec.tasks, objectives)
    problems += [f"[[tasks]] {task.name} {problem}" for task in spec.tasks for problem in task_problems(task)]
    if len(set(objectives)) < len(objectives):
        problems.append(f"[search] objectives names one twice: {list(objectives)}")
    for name, limit in spec.search.constraints.items():
        if name in OBJECTIVES and OBJECTIVES[name].direction == "max":
            problems.append(f"[search] constraints are upper limits on costs; {name!r} is not a cost")
        if limit <= 0:
            problems.append(f"[search] constraints.{name} must be above 0, got {limit!r}")
    for name in spec.logging.callbacks:
        if name not in TRACKERS:
            problems.append(
                f"[logging] unknown callback {name!r}.{nearest(name, TRACKERS)} Known: {', '.join(TRACKERS)}"
            )
        elif find_spec(TRACKERS[name]) is None:
            problems.append(
                f"[logging] callback {name!r} needs the package {TRACKERS[name]}: pip install 'stillhouse[{name}]'"
            )
    gpus = spec.cluster.gpus_per_worker
    if gpus > 1 and gpus != int(gpus):
        problems.append(f"[cluster] gpus_per_worker must be a whole number or a share below 1, got {gpus!r}")
    if spec.cluster.workers_per_trial > 1 and 0 < gpus < 1:
        problems.append(
            f"[cluster] gpus_per_worker must be 1 or more with several workers per trial, since NCCL wants a device "
            f"for each, got {gpus!r}"
        )
    first = spec.rungs.first_tokens
    if first is not None and first >= spec.budget.train_tokens:
        problems.append(
            f"[rungs] first_tokens must be below the budget of {spec.budget.train_tokens:,} tokens, got {first:,}; "
            f"nearest with factor {spec.rungs.factor}: {max(1, spec.budget.train_tokens // spec.rungs.factor):,}"
        )
    if spec.comparison.seeds is not None:
        if spec.rungs.first_tokens is not None:
            problems.append("[comparison] compares full budgets: leave [rungs] first_tokens out")
        if spec.search.constraints:
            problems.append("[comparison] runs every student of the space: leave [search] constraints out")
    for folder in (spec.corpus.source, *(t.source for t in spec.tasks)):
        if folder.startswith("hub:") and not folder.removeprefix("hub:"):
            problems.append(f"{folder!r} names no data set: write hub:name or hub:name/subset")
    return problems


def _against_teacher(spec: StudySpec, facts: TeacherFacts) -> list[str]:
    problems = []
    limit = facts.max_positions
    named = {"[latency] sequence_length": spec.latency.sequence_length}
    named |= {f"[[tasks]] {t.name} max_length": t.max_length for t in spec.tasks}
    for where, length in named.items():
        if length > limit:
            problems.append(f"{where} must not exceed the {limit} positions of teacher {facts.name!r}, got {length}")
    return problems


def _against_space(spec: StudySpec, space: SearchSpace) -> list[str]:
    problems = []
    shares = spec.cluster.workers_per_trial * spec.training.gradient_accumulation
    for size in space.to_table().get("batch_size", []):
        if size % shares:
            problems.append(
                f"[space] batch_size {size} is not a multiple of {shares} (workers_per_trial "
                f"{spec.cluster.workers_per_trial} x gradient_accumulation {spec.training.gradient_accumulation}); "
                f"nearest: {max(shares, round(size / shares) * shares)}"
            )
        if size * spec.corpus.sequence_length > spec.budget.train_tokens:
            problems.append(
                f"[budget] train_tokens {spec.budget.train_tokens} is less than one batch of {size} x "
                f"{spec.corpus.sequence_length} tokens"
            )
    wanted, compared = spec.comparison.tune_shape, spec.comparison.seeds is not None
    if wanted is not None:
        try:
            known = parse_shape(wanted) in space.shapes
        except SpecError as error:
            problems += [f"[comparison] tune_shape: {p}" for p in error.problems]
            known = True
        if not known:
            names = ", ".join(shape.name for shape in space.shapes)
            problems.append(f"[comparison] tune_shape {wanted!r} is no shape of the space. Known: {names}")
    if spec.search.sampler == "grid" or compared:
        try:
            next(iter(space.enumerate()), None)
        except SpecError as error:
            where = "[comparison]" if compared else "[search] sampler 'grid'"
            problems += [f"{where}: {p}" for p in error.problems]
    return problems
