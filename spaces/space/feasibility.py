"""The rules that decide, before anything is spent, whether a value of an axis fits a student shape and a teacher.

Every rule looks at one value, one student and the teacher only. That is what lets the search space draw from the legal
values alone, and say which rule is in the way when there are none.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spaces.errors import InfeasibleConfig
from spaces.space.axes import Scalar
from spaces.students.architecture import StudentArchitecture, TeacherFacts, divisors
from spaces.students.layer_mapping import MAPPINGS, resolve_mapping
from spaces.students.transfer import METHODS, terms_of


@dataclass(frozen=True)
class Rule:
    """A rule about one axis: its statement, and what it has against a value (None: nothing)."""

    axis: str
    statement: str
    objection: Callable[[Scalar, StudentArchitecture, TeacherFacts], str | None]


@dataclass(frozen=True)
class Objection:
    """What a rule has against a value."""

    statement: str
    text: str


def without_lm_head(method: Scalar, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Output-distribution transfer reads the teacher's logits."""
    lacking = [repr(term.name) for term in terms_of(str(method)) if term.needs_lm_head]
    if teacher.has_lm_head or not lacking:
        return None
    others = ", ".join(name for name, known in METHODS.items() if not known.needs_lm_head)
    return (
        f"{', '.join(lacking)} needs a trained masked-LM head, which teacher {teacher.name!r} does not have; "
        f"methods that need none: {others}"
    )


def unfit_mapping(mapping: Scalar, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Mappings fit depths."""
    try:
        resolve_mapping(str(mapping), student.num_layers, teacher.architecture.num_layers)
    except InfeasibleConfig as error:
        return str(error)
    return None


def relation_heads_of_teacher(heads: Scalar, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """The teacher's Q, K and V split evenly."""
    return uneven_split(heads, teacher.architecture.hidden_size, "the teacher's", student, teacher)


def relation_heads_of_student(heads: Scalar, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """The student's Q, K and V split evenly."""
    return uneven_split(heads, student.hidden_size, "the student's", student, teacher)


def uneven_split(
    heads: Scalar, width: int, whose: str, student: StudentArchitecture, teacher: TeacherFacts
) -> str | None:
    """Say that `heads` does not divide a width, and which count nearest to it divides both."""
    if width % int(heads) == 0:
        return None
    legal = divisors(math.gcd(student.hidden_size, teacher.architecture.hidden_size))
    return (
        f"relation heads must divide {whose} width {width}, got {heads}; nearest that divides both widths: "
        f"{min(legal, key=lambda count: abs(count - int(heads)))}"
    )


def beyond_teacher(layer: Scalar, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Teacher layers are counted from 1."""
    layers = teacher.architecture.num_layers
    if 1 <= int(layer) <= layers:
        return None
    return f"teacher_layer must be within 1 to {layers}, got {layer}; nearest legal: {min(max(int(layer), 1), layers)}"


def unfit_start(initialisation: Scalar, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """What is taken from the teacher must be as large there, and equal where it is copied whole."""
    known = teacher.architecture
    limits = {
        "hidden_size": known.hidden_size,
        "intermediate_size": known.intermediate_size,
        "num_layers": known.num_layers,
    }
    equal, at_most = START_LIMITS[str(initialisation)]
    broken = [field for field in equal if getattr(student, field) != limits[field]]
    broken += [field for field in at_most if getattr(student, field) > limits[field]]
    if not broken:
        return None
    needs = [f"{field} equal to the teacher's {limits[field]}" for field in equal if field in broken]
    needs += [f"{field} of at most the teacher's {limits[field]}" for field in at_most if field in broken]
    got = ", ".join(str(getattr(student, field)) for field in broken)
    return f"initialisation {initialisation!r} needs {' and '.join(needs)}, got {got}"


def objections(axis: str, value: Scalar, student: StudentArchitecture, teacher: TeacherFacts) -> Iterator[Objection]:
    """Everything the rules have against a value of an axis for this student and teacher."""
    for rule in RULES:
        if rule.axis == axis and (found := rule.objection(value, student, teacher)):
            yield Objection(rule.statement, found)


def same_outcome(
    axis: str, value: Scalar, choices: tuple[Scalar, ...], student: StudentArchitecture, teacher: TeacherFacts
) -> Scalar | None:
    """The choice that is tried in place of this one because both come to the same student; None when it is itself.

    Two mappings may give the same pairs, above all when student and teacher are equally deep; and at the teacher's
    widths cutting its layers is copying them, as at its depth its first layers are all of them. Named mappings go
    before explicit pairs, in the order of MAPPINGS.
    """
    if axis == "mapping":
        order = [*MAPPINGS, *sorted(str(choice) for choice in choices if choice not in MAPPINGS)]
        depths = (student.num_layers, teacher.architecture.num_layers)
        for earlier in order[: order.index(str(value))]:
            if earlier not in choices or unfit_mapping(earlier, student, teacher):
                continue
            if resolve_mapping(earlier, *depths) == resolve_mapping(str(value), *depths):
                return earlier
    if axis == "initialisation" and value in SAME_STARTS:
        as_deep = student.num_layers == teacher.architecture.num_layers
        for earlier in SAME_STARTS[: SAME_STARTS.index(str(value))] if value != "first_layers" or as_deep else ():
            if earlier in choices and unfit_start(earlier, student, teacher) is None:
                return earlier
    return None


RULES: tuple[Rule, ...] = (
    Rule("method", "output-distribution transfer needs a teacher with a masked-LM head", without_lm_head),
    Rule("mapping", "a mapping must fit the depths of student and teacher", unfit_mapping),
    Rule("relation_heads", "relation heads divide the teacher's width", relation_heads_of_teacher),
    Rule("relation_heads", "relation heads divide the student's width", relation_heads_of_student),
    Rule("teacher_layer", "teacher_layer lies within the teacher", beyond_teacher),
    Rule("initialisation", "an initialisation must find its weights in the teacher", unfit_start),
)

START_LIMITS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "random": ((), ()),
    "projected": ((), ("hidden_size",)),
    "teacher_layers": (("hidden_size", "intermediate_size"), ("num_layers",)),
    "projected_layers": ((), ("hidden_size", "num_layers")),
    "first_layers": ((), ("hidden_size", "num_layers")),
}
"""Per initialisation, what must equal the teacher's, and what must not exceed it."""

SAME_STARTS = ("teacher_layers", "projected_layers", "first_layers")
"""Initialisations that may come to the same student; an earlier one stands for the later."""
