"""A setting of a spec: a field of a frozen dataclass with its default, its meaning and its rules beside it.

Each is declared once, in the room that uses it; search/spec reads tables of a spec into these classes, checks the
rules, and prints `stillhouse check --explain` from them.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from spaces.errors import nearest

PRECISIONS = ("auto", "fp32", "bf16")
"""Choices of arithmetic; auto is bf16 where the processor multiplies it."""


def setting(doc: str, default: Any = dataclasses.MISSING, **rules: Any) -> Any:
    """A documented field; rules are `at_least`, `above`, `below`, `choices`, `pattern` and `refused`.

    pattern: of texts that are legal beside the choices. refused: from a value to why it is no choice, '' where nothing
    is to be said of it.
    """
    metadata = {"doc": doc, **rules}
    if default is dict:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def broken_rules(where: str, rules: Mapping[str, Any], value: Any) -> list[str]:
    """What is wrong with a value of the right type by the rules of its setting; `where` begins each problem."""
    found = []
    if "at_least" in rules and value < rules["at_least"]:
        found.append(f"{where} must be at least {rules['at_least']}, got {value!r}")
    if "above" in rules and value <= rules["above"]:
        found.append(f"{where} must be above {rules['above']}, got {value!r}")
    if "below" in rules and value >= rules["below"]:
        found.append(f"{where} must be below {rules['below']}, got {value!r}")
    if "refused" in rules and (why := rules["refused"](value)):
        found.append(f"{where} {value!r}: {why}")
    elif "choices" in rules and value not in rules["choices"] and not re.fullmatch(rules.get("pattern", ""), value):
        known = rules["choices"]
        found.append(f"{where}: unknown {value!r}.{nearest(value, known)} Known: {', '.join(known)}")
    return found


def problems_of(where: str, settings: Any) -> list[str]:
    """The broken rules of all fields of a value whose fields are settings; what is None is unset and breaks none."""
    return [
        problem
        for field in dataclasses.fields(settings)
        if (value := getattr(settings, field.name)) is not None
        for problem in broken_rules(f"{where} {field.name}", field.metadata, value)
    ]
