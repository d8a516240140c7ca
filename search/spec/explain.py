"""What a spec may say: every section, key and axis, as commented TOML for people and as a JSON schema for editors."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from search.spec.reading import default_of, show
from search.spec.sections import SECTIONS
from spaces.space.axes import SIZE_AXES, all_axes
from spaces.space.table import default_values
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.axis import Axis
from trainables.models.families.bert import BertFacts
from trainables.tasks.spec import TaskSpec

EXAMPLE = TeacherFacts("a teacher", BertFacts("bert"), StudentArchitecture(12, 768, 12, 3072), 30522, 512, 2, True, "")
"""Defaults of axes depend on the teacher; what is printed are those of 12 layers of 768 units with 12 heads."""
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
RULES = {"at_least": "minimum", "above": "exclusiveMinimum", "below": "exclusiveMaximum"}
"""Our rules by the words of JSON schema."""


def explain() -> str:
    """Every section, key and axis with its default and meaning, as commented TOML."""
    lines = ['name = "..."   # default: the file name', "seed = 0       # of the sampler and of every trial"]
    for title, section in SECTIONS.items():
        lines += ["", f"[{title}]", *map(_setting_line, dataclasses.fields(section))]
    lines += ["", "[space]         # axes: a value, or a list of values; defaults are those of a 12x768 teacher"]
    lines += map(_axis_line, all_axes().values())
    lines += ["", "[[tasks]]", *map(_setting_line, dataclasses.fields(TaskSpec))]
    return "\n".join(lines) + "\n"


def _setting_line(field: "dataclasses.Field[Any]") -> str:
    default = default_of(field)
    shown = "(required)" if default is dataclasses.MISSING else "(unset)" if default is None else show(default)
    choices = field.metadata.get("choices")
    tail = f"; one of {', '.join(choices)}" if choices else ""
    return f"{f'{field.name} = {shown}':<35} # {field.metadata['doc']}{tail}"


def _axis_line(axis: Axis) -> str:
    if axis.default is not None:
        line = default_values(axis, EXAMPLE).to_line()
        shown = (
            show(line) if isinstance(line, list) else "{ " + ", ".join(f"{k} = {show(line[k])}" for k in line) + " }"
        )
    else:
        shown = "(required)" if axis.name == "method" else "(unset)"
    tail = "; may be a range" if axis.may_be_range else "; instead of shape" if axis.name in SIZE_AXES else ""
    return f"{f'{axis.name} = {shown}':<35} # {axis.meaning}{tail}"


def schema() -> str:
    """The JSON schema of a spec. Editors complete and check a TOML file whose first line is `#:schema PATH`."""
    sections = {title: _section_schema(section) for title, section in SECTIONS.items()}
    axes = {name: _axis_schema(axis) for name, axis in all_axes().items()}
    properties = {
        "name": {"type": "string", "description": "name of the study; default: the file name"},
        "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "of the sampler and of every trial"},
        **sections,
        "space": _object(axes, ["method"]),
        "tasks": {"type": "array", "minItems": 1, "items": _section_schema(TaskSpec)},
    }
    required = [title for title, section in sections.items() if section["required"]] + ["space", "tasks"]
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "stillhouse study spec"}
    return json.dumps(head | _object(properties, required), indent=1) + "\n"


def _object(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _section_schema(section: type) -> dict[str, Any]:
    hints = typing.get_type_hints(section)
    fields = dataclasses.fields(section)
    return _object(
        {field.name: _setting_schema(hints[field.name], field) for field in fields},
        [field.name for field in fields if default_of(field) is dataclasses.MISSING],
    )


def _setting_schema(hint: Any, field: "dataclasses.Field[Any]") -> dict[str, Any]:
    several = hint == str | tuple[str, ...]
    if isinstance(hint, types.UnionType):
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is tuple:
        found: dict[str, Any] = {"type": "array", "items": {"type": TYPES.get(typing.get_args(hint)[0], "object")}}
    elif hint in TYPES:
        found = {"type": TYPES[hint]}
    else:
        numbers = {"type": "object", "additionalProperties": {"type": "number"}}
        is_nested = typing.get_origin(typing.get_args(hint)[1]) is not None
        found = {"type": "object", "additionalProperties": numbers} if is_nested else numbers
    found |= {word: field.metadata[rule] for rule, word in RULES.items() if rule in field.metadata}
    if "choices" in field.metadata:
        found["enum"] = list(field.metadata["choices"])
    if "pattern" in field.metadata:
        pattern = {"type": found.pop("type"), "pattern": f"^{field.metadata['pattern']}$"}
        found = {"anyOf": [{"enum": found.pop("enum")}, pattern]} | found
    if several:
        found = {"anyOf": [found, {"type": "array", "minItems": 1, "uniqueItems": True, "items": found}]}
    default = default_of(field)
    if default is not dataclasses.MISSING and default is not None:
        found["default"] = default
    return found | {"description": field.metadata["doc"]}


def _axis_schema(axis: Axis) -> dict[str, Any]:
    value = {"type": TYPES[axis.kind]}
    ways: list[dict[str, Any]] = [value, {"type": "array", "minItems": 1, "uniqueItems": True, "items": value}]
    if axis.may_be_range:
        ends = {"type": "number", "exclusiveMinimum": 0}
        ways.append(_object({"low": ends, "high": ends, "log": {"type": "boolean"}}, ["low", "high"]))
    return {"anyOf": ways, "description": axis.meaning}
