"""An axis of the search space: something a study may choose values for, declared once with all that is known of it.

The axes that every trial has stand in spaces/space/axes.py; one that belongs to a transfer method stands in the file of
that method.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from spaces.errors import SpecError
from spaces.students.architecture import StudentArchitecture, TeacherFacts

Scalar = str | int | float


@dataclass(frozen=True)
class Rule:
    """What a value has to obey: the rule in words, and what it has against a value (None: nothing).

    A rule looks at one value, one student and the teacher only. That is what lets the search space draw from the legal
    values alone, and say which rule is in the way when there are none.
    """

    statement: str
    objection: Callable[[Any, StudentArchitecture, TeacherFacts], str | None]


def differs(value: Any, choices: tuple[Scalar, ...], student: StudentArchitecture, teacher: TeacherFacts) -> None:
    """For an axis whose values never come to the same."""


@dataclass(frozen=True)
class Axis:
    """One axis, as it may stand in the [space] table of a spec and in a configuration."""

    name: str
    kind: type[str] | type[int] | type[float]
    """The type of its values, and so of its column in the trials table."""
    read: Callable[[Any], Scalar]
    """Brings a value to its one spelling; raises SpecError for what is no value of the axis."""
    meaning: str
    unit: str = ""
    default: Callable[[TeacherFacts], tuple[Scalar, ...] | Mapping[str, Any]] | None = None
    """Values, or a range {low, high, log}, where the spec leaves the axis out; those that fit no shape are dropped."""
    may_be_range: bool = False
    rules: tuple[Rule, ...] = ()
    same_as: Callable[[Any, tuple[Scalar, ...], StudentArchitecture, TeacherFacts], Scalar | None] = differs
    """(value, all values, student, teacher) -> the value tried in its place since both come to the same student, or
    None."""


def whole(value: Any) -> int:
    """Read a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise SpecError([f"needs whole numbers of at least 1, got {value!r}"])
    return int(value)


def positive(value: Any) -> float:
    """Read a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise SpecError([f"needs positive finite numbers, got {value!r}"])
    return float(value)


def text(read: Callable[[str], str]) -> Callable[[Any], str]:
    """A reader that takes strings only."""

    def read_text(value: Any) -> str:
        if not isinstance(value, str):
            raise SpecError([f"needs text, got {value!r}"])
        return read(value)

    return read_text
