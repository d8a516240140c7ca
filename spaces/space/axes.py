"""The axes of the search space: how a value of each is read, and how a line of the [space] table becomes an Axis.

A line is a list of values, a single value, or, for the real-valued axes, a range {low, high, log}. Texts are brought to
one spelling here ("0.5hs+od" is "od + 0.5 hs"), so that equal configurations are equal everywhere after.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from spaces.errors import SpecError, choose, nearest
from spaces.students.architecture import TeacherFacts, parse_shape
from spaces.students.layer_mapping import MAPPINGS, canonical_mapping
from spaces.students.transfer import canonical_method

Scalar = str | int | float

INITIALISATIONS: dict[str, str] = {
    "random": "everything random",
    "projected": "teacher embeddings reduced by truncated SVD, layers random",
    "teacher_layers": "teacher embeddings and uniformly spaced teacher layers copied, at the teacher's widths",
    "projected_layers": "teacher embeddings reduced by truncated SVD, layers cut from uniformly spaced teacher layers",
    "first_layers": "the same from the teacher's first layers",
}


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


def initialisation(name: str) -> str:
    """Read the name of an initialisation."""
    choose("initialisation", INITIALISATIONS, name)
    return name


SHAPE_AXES = ("num_layers", "hidden_size", "num_heads", "ffn_ratio")
REAL_AXES = ("temperature", "learning_rate")
"""The axes that may be ranges."""

AXES: dict[str, Callable[[Any], Scalar]] = {
    "method": text(canonical_method),
    "shape": text(lambda name: parse_shape(name).name),
    "num_layers": whole,
    "hidden_size": whole,
    "num_heads": whole,
    "ffn_ratio": positive,
    "mapping": text(canonical_mapping),
    "relation_heads": whole,
    "teacher_layer": whole,
    "temperature": positive,
    "initialisation": text(initialisation),
    "learning_rate": positive,
    "batch_size": whole,
}


@dataclass(frozen=True)
class Axis:
    """One axis: listed choices, or a range of real numbers (then `choices` is empty)."""

    name: str
    choices: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def is_range(self) -> bool:
        """Whether the axis is a range rather than a list."""
        return not self.choices

    def contains(self, value: Any) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high if self.is_range else value in self.choices

    def to_table(self) -> list[Scalar] | dict[str, Scalar]:
        """The line of the [space] table that reads back as this axis."""
        return {"low": self.low, "high": self.high, "log": self.log} if self.is_range else list(self.choices)


def read_axis(name: str, raw: Any) -> tuple[Axis | None, list[str]]:
    """Read one line of the [space] table; returns the axis of the values that could be read, and every problem."""
    if isinstance(raw, Mapping):
        return read_range(name, raw)
    problems: list[str] = []
    choices: list[Scalar] = []
    for value in raw if isinstance(raw, list | tuple) else [raw]:
        try:
            choice = AXES[name](value)
        except SpecError as error:
            problems += error.problems
            continue
        if choice in choices:
            problems.append(f"lists {choice!r} twice")
        else:
            choices.append(choice)
    if not choices and not problems:
        problems.append("lists no value")
    return Axis(name, tuple(choices)) if choices else None, problems


def read_range(name: str, raw: Mapping[str, Any]) -> tuple[Axis | None, list[str]]:
    """Read {low, high, log}; `log` is false when left out."""
    if name not in REAL_AXES:
        return None, [f"needs a list of values; only {' and '.join(REAL_AXES)} may be ranges"]
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
    return Axis(name, low=low, high=high, log=log), []


def default_axis(name: str, teacher: TeacherFacts) -> Axis:
    """What an axis is searched over when the spec leaves it out, before the values that fit no shape are dropped."""
    layers, heads = teacher.architecture.num_layers, teacher.architecture.num_heads
    choices: dict[str, tuple[Scalar, ...]] = {
        "ffn_ratio": (4.0,),
        "mapping": tuple(MAPPINGS),
        "relation_heads": tuple(sorted({heads, 12, 24, 48, 64})),
        "teacher_layer": tuple(layer for layer in range(layers, layers - 3, -1) if layer >= 1),
        "temperature": (1.0, 2.0, 4.0),
        "initialisation": tuple(INITIALISATIONS),
        "batch_size": (16,),
    }
    if name == "learning_rate":
        return Axis(name, low=3e-4, high=3e-3, log=True)
    return Axis(name, choices[name])


def read_table(table: Mapping[str, Any]) -> tuple[dict[str, Axis], list[str]]:
    """Read a [space] table; returns the axes that could be read, and every problem under its TOML key."""
    axes: dict[str, Axis] = {}
    problems = [
        f"[space] {name}: unknown axis.{nearest(name, AXES)} Known: {', '.join(AXES)}"
        for name in table
        if name not in AXES
    ]
    for name in AXES:
        if name in table:
            axis, found = read_axis(name, table[name])
            problems += [f"[space] {name}: {problem}" for problem in found]
            if axis is not None:
                axes[name] = axis
    if "method" not in table:
        problems.append('[space] method: missing; give a list such as ["mha", "hs"]')
    mixed = [name for name in SHAPE_AXES if name in table]
    if "shape" in table and mixed:
        problems.append(
            f"[space] shape: give either shapes or {' and '.join(SHAPE_AXES)}, got shape and {', '.join(mixed)}"
        )
    elif "shape" not in table and not mixed:
        problems.append('[space] shape: missing; give shapes such as ["3x192", "4x256"], or num_layers and hidden_size')
    elif mixed:
        problems += [
            f"[space] {name}: missing beside {', '.join(mixed)}"
            for name in ("num_layers", "hidden_size")
            if name not in table
        ]
    return axes, problems
