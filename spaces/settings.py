"""A setting of a spec: a field of a frozen dataclass with its default, its meaning and its rules beside it.

Each is declared once, in the room that uses it; search/spec reads tables of a spec into these classes, checks the
rules, and prints `stillhouse check --explain` from them.
"""

import dataclasses
from typing import Any


def setting(doc: str, default: Any = dataclasses.MISSING, **rules: Any) -> Any:
    """A documented field; rules are `at_least`, `above`, `below`, `choices`."""
    metadata = {"doc": doc, **rules}
    if default is dict:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
