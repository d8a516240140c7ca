"""From the TOML of a spec to a study: frozen and checked values, its space and its teacher.

Every problem is collected before anything is raised, so that a spec is corrected once. The keys stand in sections.py,
rules between them in rules.py; the axes of `[space]` belong to spaces/space, which is asked as soon as the teacher is
known.
"""

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.samplers.registry import GRID
from search.spec.languages import by_language
from search.spec.paths import refuse_absent_teacher, resolve_paths
from search.spec.reading import Draft, Unsound, is_int, read_section
from search.spec.rules import SPEC_RULES, TASK_RULES, TASK_TEACHER_RULES, TEACHER_RULES, broken
from search.spec.sections import SECTIONS, TOP_LEVEL, StudySpec
from search.spec.space_rules import SPACE_RULES
from spaces.errors import SpecError, nearest
from spaces.space.comparison import count_trials
from spaces.space.reading import read_space
from spaces.space.search_space import SearchSpace
from spaces.space.table import read_table
from spaces.students.architecture import TeacherFacts
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.tasks.spec import TaskSpec

PLACES = {field.name: f"[{title}]" for title, section in SECTIONS.items() for field in dataclasses.fields(section)}
"""Of each key a section that has it."""


@dataclass(frozen=True)
class Study:
    """What is to be run: a checked spec, the space that it searches, and the teacher that both are about."""

    spec: StudySpec
    space: SearchSpace
    teacher: TeacherFacts


def load_table(path: str | Path) -> tuple[dict[str, Any], Path]:
    """The raw TOML table and the folder that its relative paths start from."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
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
    values, problems = _read(table, folder, source)
    problems += _broken_by_itself(_draft(values))
    if problems:
        raise SpecError(problems, source=source)
    return _spec(values)


Doors = Callable[[Any, TeacherFacts | None, list[str]], object]
"""(draft of a spec, teacher or None, problems to add to): opens what a spec names, and says what is wrong with it."""


def check_all(
    table: Mapping[str, Any],
    folder: Path,
    source: str | None,
    read_facts: Callable[[str, EmbeddingSpec, str | None], TeacherFacts],
    *doors: Doors,
) -> Study:
    """The study of a spec, or one SpecError with everything that is wrong with its sections, teacher and space.

    `read_facts(path, embedding, tokenizer of students)` describes a teacher. What is behind the `doors` is looked at as
    well.
    """
    values, problems = _read(table, folder, source)
    refuse_absent_teacher(values, problems)
    draft = _draft(values)
    problems += _broken_by_itself(draft)
    teacher = _read_teacher(draft, read_facts, problems)
    space = _read_space(draft, teacher, problems)
    if teacher is not None:
        problems += broken(TEACHER_RULES, draft, teacher)
        problems += [line for task in _tasks(draft) for line in broken(TASK_TEACHER_RULES, task, teacher)]
    if space is not None:
        problems += broken(SPACE_RULES, draft, space)
    for look in doors:
        look(draft, teacher, problems)
    if problems or space is None or teacher is None:
        raise SpecError(problems, source=source)
    return Study(planned(dataclasses.replace(_spec(values), space=space.to_table()), space), space, teacher)


def planned(spec: StudySpec, space: SearchSpace) -> StudySpec:
    """A comparison settles how its trials are chosen, and how many there are."""
    if spec.comparison.seeds is None:
        return spec
    search = dataclasses.replace(spec.search, sampler=GRID)
    budget = dataclasses.replace(spec.budget, trials=sum(count_trials(space, spec.comparison.seeds)))
    return dataclasses.replace(spec, search=search, budget=budget)


def _read(table: Mapping[str, Any], folder: Path, source: str | None) -> tuple[dict[str, Any], list[str]]:
    """The sound values of a spec: a dictionary for each section and task; and what is wrong with the others."""
    problems = [
        f"unknown section or key {key!r}.{nearest(key, TOP_LEVEL)} Known: {', '.join(TOP_LEVEL)}"
        for key in table
        if key not in TOP_LEVEL
    ]
    values: dict[str, Any] = {}
    name = table.get("name", Path(source).stem if source else "study")
    if isinstance(name, str) and name.strip():
        values["name"] = name
    else:
        problems.append(f"name: must be a text, got {name!r}")
    seed = table.get("seed", 0)
    if is_int(seed) and 0 <= seed < 2**31:
        values["seed"] = seed
    else:
        problems.append(f"seed: must be a whole number from 0 to 2147483647, got {seed!r}")
    space = table.get("space", {})
    if isinstance(space, dict):
        values["space"] = space
    else:
        problems.append(f"[space] must be a table, got {space!r}")
    for title, section in SECTIONS.items():
        values[title] = read_section(f"[{title}]", section, table.get(title, {}), problems, PLACES)
    values |= _read_tasks(table.get("tasks", []), problems)
    resolve_paths(values, folder, problems)
    return values, problems


def _read_tasks(entries: Any, problems: list[str]) -> dict[str, Any]:
    """{"tasks": the sound values of each}, or nothing when the tasks are no list of tables."""
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        problems.append("[[tasks]] must be written with double brackets, one block per task")
        return {}
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
    return {"tasks": tasks}


def _draft(values: Mapping[str, Any]) -> Any:
    """Stands in for the spec in rules."""
    sections = {title: Draft(values[title]) for title in SECTIONS}
    tasks = {"tasks": tuple(map(Draft, values["tasks"]))} if "tasks" in values else {}
    return Draft({**values, **sections, **tasks})


def _spec(values: Mapping[str, Any]) -> StudySpec:
    """The spec of values that are all sound."""
    sections = {title: section(**values[title]) for title, section in SECTIONS.items()}
    return StudySpec(**{**values, **sections, "tasks": tuple(TaskSpec(**task) for task in values["tasks"])})


def _tasks(draft: Any) -> tuple[Any, ...]:
    try:
        return draft.tasks
    except Unsound:
        return ()


def _broken_by_itself(draft: Any) -> list[str]:
    return broken(SPEC_RULES, draft) + [line for task in _tasks(draft) for line in broken(TASK_RULES, task)]


def _read_teacher(
    draft: Any, read_facts: Callable[[str, EmbeddingSpec, str | None], TeacherFacts], problems: list[str]
) -> TeacherFacts | None:
    try:
        embedding = EmbeddingSpec(draft.embedding.pooling, draft.embedding.prompt)
        return read_facts(draft.teacher.path, embedding, draft.student.tokenizer)
    except Unsound:
        return None
    except SpecError as error:
        problems += [p if p.startswith("[") else f"[teacher] {p}" for p in error.problems]
        return None


def _read_space(draft: Any, teacher: TeacherFacts | None, problems: list[str]) -> SearchSpace | None:
    """Without a teacher, what can be said of the lines of `[space]` alone."""
    try:
        axes = dict(draft.space)
    except Unsound:
        return None
    if teacher is None:
        problems += read_table(axes)[1]
        return None
    try:
        length = draft.corpus.sequence_length
    except Unsound:
        length = 1  # fits every teacher: its own problem has been said
    try:
        return read_space(axes, teacher, length)
    except SpecError as error:
        problems += [p if p.startswith("[") else f"[space] {p}" for p in error.problems]
        return None
