"""The [space] table of a spec: one line for an axis, with the values that a study may choose.

A line is a list of values, a single value, or, for an axis that allows it, a range {low, high, log}.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaces.errors import SpecError, nearest
from spaces.space.axes import SIZE_AXES, all_axes
from spaces.students.architecture import TeacherFacts
from spaces.students.axis import Axis, Scalar, positive


@dataclass(frozen=True)
class Values:
    """What a study offers along an axis: listed choices, or a range of real numbers (then `choices` is empty)."""

    name: str
    choices: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def is_range(self) -> bool:
        """Whether it is a range rather than a list."""
        return not self.choices

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest number of a range."""
        return self.low, self.high

    def contains(self, value: Any) -> bool:
        """Whether a value is offered."""
        return self.low <= value <= self.high if self.is_range else value in self.choices

    def to_line(self) -> list[Scalar] | dict[str, Scalar]:
        """The line of the [space] table that reads back as these values."""
        return {"low": self.low, "high": self.high, "log": self.log} if self.is_range else list(self.choices)


def read_line(axis: Axis, raw: Any) -> tuple[Values | None, list[str]]:
    """Read one line of the [space] table; returns the values that could be read, and every problem."""
    if isinstance(raw, Mapping):
        return read_range(axis, raw)
    problems: list[str] = []
    choices: list[Scalar] = []
    for value in raw if isinstance(raw, list | tuple) else [raw]:
        try:
            choice = axis.read(value)
        except SpecError as error:
            problems += error.problems
            continue
        if choice in choices:
            problems.append(f"lists {choice!r} twice")
        else:
            choices.append(choice)
    if not choices and not problems:
        problems.append("lists no value")
    return Values(axis.name, tuple(choices)) if choices else None, problems


def read_range(axis: Axis, raw: Mapping[str, Any]) -> tuple[Values | None, list[str]]:
    """Read {low, high, log}; `log` is false when left out."""
    if not axis.may_be_range:
        others = [name for name, known in all_axes().items() if known.may_be_range]
        return None, [f"needs a list of values; only {' and '.join(others)} may be ranges"]
    keys = ("low", "high", "log")
    problems = [
        f"unknown key {key!r} of a range.{nearest(key, keys)} Known: {', '.join(keys)}"
        for key in raw
        if key not in keys
    ]
    problems += [f"a range needs {key!r}" for key in keys[:2] if key not in raw]
    log = raw.get("log", False)
    if not isinstance(log, bool):
        problems.append(f"log must be true or false, got {log!r}")
    if problems:
        return None, problems
    try:
        low, high = positive(raw["low"]), positive(raw["high"])
    except SpecError as error:
        return None, list(error.problems)
    if not low < high:
        return None, [f"low < high must hold, got low={low:g}, high={high:g}"]
    return Values(axis.name, low=low, high=high, log=log), []


def default_values(axis: Axis, teacher: TeacherFacts) -> Values:
    """What an axis is searched over when the spec leaves it out, before the values that fit no shape are dropped."""
    assert axis.default is not None, f"{axis.name} has no default"
    values, problems = read_line(axis, axis.default(teacher))
    if values is None or problems:
        raise SpecError(problems, f"default of axis {axis.name!r}")
    return values


def read_table(table: Mapping[str, Any]) -> tuple[dict[str, Values], list[str]]:
    """Read a [space] table; returns the axes that could be read, and every problem under its TOML key."""
    read: dict[str, Values] = {}
    axes = all_axes()
    problems = [
        f"[space] {name}: unknown axis.{nearest(name, axes)} Known: {', '.join(axes)}"
        for name in table
        if name not in axes
    ]
    for name, axis in axes.items():
        if name in table:
            values, found = read_line(axis, table[name])
            problems += [f"[space] {name}: {problem}" for problem in found]
            if values is not None:
                read[name] = values
    if "method" not in table:
        problems.append('[space] method: missing; give a list such as ["mha", "hs"]')
    mixed = [name for name in SIZE_AXES if name in table and not ("shape" in table and name == "num_heads")]
    if "shape" in table and mixed:
        others = " and ".join(name for name in SIZE_AXES if name != "num_heads")
        problems.append(f"[space] shape: give either shapes or {others}, got shape and {', '.join(mixed)}")
    elif "num_heads" in read and "shape" in read:
        problems += [
            f"[space] num_heads: shape {name!r} says its heads already; write {str(name).partition('h')[0]!r}"
            for name in read["shape"].choices
            if "h" in str(name)
        ]
    elif "shape" not in table and not mixed:
        problems.append('[space] shape: missing; give shapes such as ["3x192", "4x256"], or num_layers and hidden_size')
    elif mixed:
        problems += [
            f"[space] {name}: missing beside {', '.join(mixed)}"
            for name in ("num_layers", "hidden_size")
            if name not in table
        ]
    return read, problems
