"""From a table of a spec to the values of its section, by the rules that stand beside each field."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from spaces.errors import nearest
from spaces.settings import broken_rules


class Unsound(Exception):
    """A rule asked for a value that could not be read; what is wrong with it has been said."""


class Draft:
    """Stands in for a spec, or a section of it, while it is checked: only the sound values are there."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        """Raises Unsound for everything else."""
        try:
            return self._values[name]
        except KeyError:
            raise Unsound(name) from None


def read_section(
    title: str, section: type, table: Any, problems: list[str], elsewhere: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The sound values of a table, by the fields of a section; what is wrong with the others goes to `problems`.

    elsewhere: keys of other sections, and which has them.
    """
    if not isinstance(table, Mapping):
        problems.append(f"{title} must be a table, got {table!r}")
        return {}
    fields = {f.name: f for f in dataclasses.fields(section)}
    hints = typing.get_type_hints(section)
    for key in table:
        if key not in fields:
            near = f" {place} has it." if (place := (elsewhere or {}).get(key)) else nearest(key, list(fields))
            problems.append(f"{title} unknown key {key!r}.{near} Known: {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        default, known = default_of(field), len(problems)
        if name in table:
            value = _read_value(f"{title} {name}", hints[name], field.metadata, table[name], problems)
            if len(problems) == known:
                values[name] = value
        elif default is dataclasses.MISSING:
            problems.append(f"{title} {name} is required: {field.metadata['doc']}")
        else:
            values[name] = default
    return values


def _read_value(where: str, hint: Any, rules: Mapping[str, Any], value: Any, problems: list[str]) -> Any:
    if hint == str | tuple[str, ...]:
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            found = [problem for each in value for problem in broken_rules(where, rules, each)]
            if repeated := sorted({v for v in value if value.count(v) > 1}):
                found.append(f"{where} names {', '.join(map(repr, repeated))} more than once")
            problems += found
            return value[0] if len(value) == 1 else tuple(value)
        if not isinstance(value, str):
            problems.append(f"{where} must be a text or a list of texts, got {value!r}")
            return value
        hint = str
    if isinstance(hint, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    if hint == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        problems.append(f"{where} must be a list of texts, got {value!r}")
        return ()
    if hint == tuple[float, ...]:
        if isinstance(value, list) and all(_is_number(v) for v in value):
            return tuple(float(v) for v in value)
        problems.append(f"{where} must be a list of numbers, got {value!r}")
        return ()
    if hint == tuple[Mapping[str, Any], ...]:
        if isinstance(value, list) and all(isinstance(v, Mapping) for v in value):
            return tuple(dict(v) for v in value)
        problems.append(f"{where} must be a list of tables, got {value!r}")
        return ()
    if hint == Mapping[str, float]:
        if isinstance(value, dict) and all(_is_number(v) for v in value.values()):
            return dict(value)
        problems.append(f"{where} must be a table of numbers, got {value!r}")
        return {}
    if hint == Mapping[str, Mapping[str, float]]:
        tables = value.values() if isinstance(value, dict) else [None]
        if all(isinstance(table, dict) and all(map(_is_number, table.values())) for table in tables):
            return {name: dict(table) for name, table in value.items()}
        problems.append(f"{where} must be tables of numbers, got {value!r}")
        return {}
    fits = {
        str: lambda v: isinstance(v, str) and v != "",
        int: is_int,
        float: _is_number,
        bool: lambda v: isinstance(v, bool),
    }
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    if not fits[hint](value):
        problems.append(f"{where} must be {names[hint]}, got {value!r}")
        return value
    problems += broken_rules(where, rules, value)
    return float(value) if hint is float else value


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return is_int(value) or (isinstance(value, float) and math.isfinite(value))


def show(value: Any) -> str:
    return "nothing" if value is None else json.dumps(list(value) if isinstance(value, tuple) else value)


def default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
