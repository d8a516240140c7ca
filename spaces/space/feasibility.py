"""Whether a value of an axis fits a student shape and a teacher, decided before anything is spent.

The rules are those of the axes (spaces/students/axis.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from spaces.space.axes import all_axes
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.axis import Scalar


@dataclass(frozen=True)
class Objection:
    """What a rule has against a value."""

    statement: str
    text: str


def objections(name: str, value: Scalar, student: StudentArchitecture, teacher: TeacherFacts) -> Iterator[Objection]:
    """Everything the rules have against a value of an axis for this student and teacher."""
    for rule in all_axes()[name].rules:
        if found := rule.objection(value, student, teacher):
            yield Objection(rule.statement, found)


def same_outcome(
    name: str, value: Scalar, choices: tuple[Scalar, ...], student: StudentArchitecture, teacher: TeacherFacts
) -> Objection | None:
    """What is said against a value that comes to the same student as another one, which is tried in its place."""
    preferred = all_axes()[name].same_as(value, choices, student, teacher)
    if preferred is None:
        return None
    text = f"{name} {value!r} is the same as {preferred!r} for a {student.name} student"
    return Objection(f"two values of {name} that come to the same are tried once", text)
