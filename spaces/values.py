"""Frozen values as JSON, and back exactly: tuples as tuples, nested values as what they were.

What does not fit the type of its field is told with its place, all of it at once.
"""

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

T = TypeVar("T")
WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
FROM_TEXT: dict[Any, Callable[[str], Any]] = {datetime: datetime.fromisoformat, pa.DataType: pa.type_for_alias}
"""Types that JSON has as texts."""


def to_json(value: Any) -> str:
    """A dataclass as one line. Raises TypeError for what is no number, text or time."""
    return json.dumps(dataclasses.asdict(value), default=_plain)


def from_json(kind: type[T], text: str) -> T:
    """The value that `to_json` wrote. Raises TypeError for what does not fit, is missing, or has no field."""
    problems: list[str] = []
    unknown: list[str] = []
    value = read_value(kind, json.loads(text), "", problems, unknown)
    if problems := [*problems, *(f"{name} is no field of {kind.__name__}" for name in unknown)]:
        raise TypeError("; ".join(problems))
    return value


def read_value(kind: Any, value: Any, where: str, problems: list[str], unknown: list[str]) -> Any:
    """A value of a type from what JSON gave. `where` is its place, empty for the whole.

    problems, unknown: what does not fit or is missing, and the places of keys that have no field, are added there.
    """
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, where, problems, unknown)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType and isinstance(value, list):
        return read_value(
            next((arm for arm in inner if typing.get_origin(arm) is tuple), inner[0]), value, where, problems, unknown
        )
    if origin is types.UnionType:
        return None if value is None else read_value(inner[0], value, where, problems, unknown)
    if origin is tuple and isinstance(value, list):
        return tuple(read_value(inner[0], each, f"{where}[{i}]", problems, unknown) for i, each in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {key: read_value(inner[1], each, f"{where}.{key}", problems, unknown) for key, each in value.items()}
    if kind in FROM_TEXT and isinstance(value, str):
        return FROM_TEXT[kind](value)
    fits = isinstance(value, int | float) if kind is float else kind in WORDS and isinstance(value, kind)
    if kind is not Any and (not fits or (kind in (int, float) and isinstance(value, bool))):
        what = WORDS.get(kind, "a list" if origin is tuple else "a table" if origin is Mapping else "a text")
        problems.append(f"{where} must be {what}, got {value!r}")
    return value


def _read_fields(kind: Any, value: Any, where: str, problems: list[str], unknown: list[str]) -> Any:
    if not isinstance(value, dict):
        problems.append(f"{where or 'the whole'} must be a table, got {value!r}")
        return None
    hints, start = _hints(kind), f"{where}." if where else ""
    known = {each.name: each for each in dataclasses.fields(kind)}
    unknown += [f"{start}{key}" for key in value if key not in known]
    found = {}
    for name, each in known.items():
        if name in value:
            found[name] = read_value(hints[name], value[name], f"{start}{name}", problems, unknown)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            problems.append(f"{start}{name} is missing")
    return None if problems else kind(**found)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _plain(value: Any) -> Any:
    """NumPy and torch scalars, times and paths as JSON."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no number, text or time")
