"""Values cross as JSON and come back exactly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from spaces.values import from_json, to_json


@dataclass(frozen=True)
class Inner:
    share: float
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    numbers: tuple[int, ...] = ()
    parts: Mapping[str, Inner] = field(default_factory=dict)
    one: Inner | None = None
    several: tuple[Inner, ...] = ()
    plain: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None


@pytest.mark.parametrize(
    "value",
    [
        Outer(),
        Outer((1, 2), {"a": Inner(0.1 + 0.2), "b": Inner(1.0, "x")}, Inner(math.inf), (Inner(0.5),)),
        Outer(plain={"list": [1, "a", None], "table": {"deep": True}}, at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
    ],
)
def test_there_and_back(value):
    assert from_json(Outer, to_json(value)) == value


def test_what_the_class_does_not_have_is_refused():
    with pytest.raises(TypeError, match="share is missing; colour is no field of Inner"):
        from_json(Inner, '{"colour": "red"}')
    wrong = '{"numbers": ["1"], "parts": {"a": {"share": "half"}}, "one": 3, "at": 5}'
    with pytest.raises(TypeError) as refused:
        from_json(Outer, wrong)
    assert str(refused.value).split("; ") == [
        "numbers[0] must be a whole number, got '1'", "parts.a.share must be a number, got 'half'",
        "one must be a table, got 3", "at must be a text, got 5",
    ]  # fmt: skip
    with pytest.raises(TypeError, match="object is no number, text or time"):
        to_json(Outer(plain={"a": object()}))
