"""A search space from the [space] table of a spec: defaults filled in, and everything that is wrong with it said."""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

from spaces.errors import SpecError
from spaces.space.axes import FAMILY, SHAPE_AXES, all_axes, axes_of_trial
from spaces.space.feasibility import Objection
from spaces.space.search_space import SearchSpace
from spaces.space.table import Values, default_values, read_table
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.axis import Scalar
from spaces.students.transfer import METHODS


def read_space(table: Mapping[str, Any], teacher: TeacherFacts, sequence_length: int) -> SearchSpace:
    """Read the [space] table of a spec; raises SpecError with every problem found.

    Axes that the methods need and the table leaves out get their defaults. Every value that is written down must be
    used by some feasible configuration: a value that never comes up is a mistake worth hearing about.
    """
    axes, problems = read_table(table)
    if sequence_length > teacher.max_positions:
        problems.append(
            f"[corpus] sequence_length: must be at most the teacher's {teacher.max_positions} positions, got "
            f"{sequence_length}; nearest legal: {teacher.max_positions}"
        )
    if FAMILY.name in axes:
        problems += drop_impossible_families(axes, teacher)
    spelt = [name for name in ("shape", *SHAPE_AXES) if name in axes]
    if "method" not in axes or not ("shape" in spelt or {"num_layers", "hidden_size"} <= set(spelt)):
        raise SpecError(problems)
    active = {name for method in axes["method"].choices for name in axes_of_trial(str(method))}
    for name in [name for name in axes if name not in (*active, "method", *spelt)]:
        users = ", ".join(method for method, known in METHODS.items() if all_axes()[name] in known.axes)
        problems.append(f"[space] {name}: no method of this space uses it (used by {users})")
        del axes[name]
    defaults = [name for name in active if name not in axes]
    if "shape" not in axes and "ffn_ratio" not in axes:
        defaults.append("ffn_ratio")
    space = SearchSpace(axes | {name: default_values(all_axes()[name], teacher) for name in defaults}, teacher)
    if not any(space.feasible.values()):
        raise SpecError([*problems, *value_problems(space, axes, only_own=True), why_empty(space)])
    problems += value_problems(space, axes, only_own=False)
    if problems:
        raise SpecError(problems)
    return without_unused(space, defaults)


def drop_impossible_families(axes: dict[str, Values], teacher: TeacherFacts) -> list[str]:
    """Take the families out of which no student can be made, and say why; what is left is known to be one."""
    possible: list[Scalar] = []
    problems: list[str] = []
    for name in axes[FAMILY.name].choices:
        try:
            teacher.as_family(str(name))
            possible.append(name)
        except SpecError as error:
            problems += [f"[space] family: {problem}" for problem in error.problems]
    if possible:
        axes[FAMILY.name] = Values(FAMILY.name, tuple(possible))
    else:
        del axes[FAMILY.name]
    return problems


def used_values(space: SearchSpace) -> set[tuple[str, Scalar]]:
    """The (axis, value) pairs that some feasible configuration has."""
    used: set[tuple[str, Scalar]] = set()
    for method, students in space.feasible.items():
        for student in students:
            used |= {("method", method), *space.shapes[student].items()}
            used |= {(name, value) for name in axes_of_trial(method) for value in space.legal(name, student)}
    return used


def without_unused(space: SearchSpace, names: list[str]) -> SearchSpace:
    """The same space with the unused values of these axes dropped; an axis without any used value stays whole."""
    used, axes = used_values(space), dict(space.axes)
    for name in names:
        if kept := tuple(value for value in axes[name].choices if (name, value) in used):
            axes[name] = Values(name, kept)
    return SearchSpace(axes, space.teacher)


def pairs_with(space: SearchSpace, name: str, value: Scalar) -> list[tuple[str, StudentArchitecture]]:
    """The (method, shape) pairs that a value could go with."""
    return [
        (method, student)
        for method in space.feasible
        for student, chosen in space.shapes.items()
        if (method == value if name == "method" else chosen[name] == value if name in chosen else True)
        and name in ("method", *chosen, *axes_of_trial(method))
    ]


def value_problems(space: SearchSpace, written: Mapping[str, Values], *, only_own: bool) -> list[str]:
    """Written values that no feasible configuration has, and why; `only_own`: for reasons of their own alone."""
    used, problems = used_values(space), []
    for name, values in written.items():
        for value in values.choices:
            if (name, value) in used:
                continue
            pairs = pairs_with(space, name, value)
            own = [own_objection(space, name, value, student) for _, student in pairs]
            if all(own):
                texts = dict.fromkeys(found.text for found in own if found)
            elif only_own:
                continue
            else:
                texts = dict.fromkeys(found.text for pair in pairs if (found := space.obstacle(*pair)))
            why = "; ".join(list(texts)[:2]) or "another value gives the same shapes"
            problems.append(f"[space] {name}: {value!r} is in no feasible configuration: {why}")
    return problems


def own_objection(space: SearchSpace, name: str, value: Scalar, student: StudentArchitecture) -> Objection | None:
    """What is said against a value for a shape, the shape's own rule included."""
    if name in ("shape", *SHAPE_AXES):
        return space.shape_objection(student)
    return space.objection(name, value, student)


def why_empty(space: SearchSpace) -> str:
    """Which rule excluded the most combinations of a space that has no feasible one."""
    broken: Counter[str] = Counter()
    examples: dict[str, str] = {}
    total = 0
    for method, student in itertools.product(space.feasible, space.shapes):
        verdicts = [
            [own_objection(space, "shape", student.name, student)],
            [space.objection("method", method, student)],
        ]
        ruled = [name for name in axes_of_trial(method) if all_axes()[name].rules]
        verdicts += [[space.objection(name, value, student) for value in space.axes[name].choices] for name in ruled]
        for combination in itertools.product(*verdicts):
            total += 1
            found = {objection.statement: objection.text for objection in combination if objection}
            broken.update(found.keys())
            examples = found | examples
    statement, times = broken.most_common(1)[0]
    return (
        f"[space] no configuration is feasible. The rule that excluded the most, {times} of {total} combinations: "
        f"{statement}. For example: {examples[statement]}"
    )
