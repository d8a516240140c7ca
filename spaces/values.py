"""Frozen values as JSON, and back exactly: tuples as tuples, nested values as what they were."""

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(value: Any) -> str:
    """A dataclass as one line. Raises TypeError for what is no number, text or time."""
    return json.dumps(dataclasses.asdict(value), default=_plain)


def from_json(kind: type[T], text: str) -> T:
    """The value that `to_json` wrote. Raises TypeError for fields that the class has not, or that are missing."""
    return _read(kind, json.loads(text))


def _read(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return None if value is None else _read(typing.get_args(hint)[0], value)
    if dataclasses.is_dataclass(hint):
        hints = _hints(typing.cast(Any, hint))
        return typing.cast(Any, hint)(**{name: _read(hints.get(name), each) for name, each in value.items()})
    if typing.get_origin(hint) is tuple:
        return tuple(_read(typing.get_args(hint)[0], each) for each in value)
    if typing.get_origin(hint) is Mapping:
        return {key: _read(typing.get_args(hint)[1], each) for key, each in value.items()}
    return datetime.fromisoformat(value) if hint is datetime else value


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
