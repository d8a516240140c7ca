"""What a person is told while something long goes on."""

import pytest

from spaces import telling
from spaces.telling import announced, counted, duration, short


def test_now_and_then_a_line_says_how_long_it_will_take(monkeypatch):
    clock, lines = [1000.0], []
    monkeypatch.setattr(telling.time, "time", lambda: clock[0])
    seen = []
    for item in announced("abcdef", "scores: {} students", lines.append):
        seen.append(item)
        clock[0] += 10.0
    assert "".join(seen) == "abcdef"
    assert lines == ["scores: 2 of 6 students, about 40 s left", "scores: 4 of 6 students, about 20 s left"]
    lines.clear()
    for _ in announced("abc", "scores: {}", lines.append, sizes=[3, 1, 2], later_s=100):
        clock[0] += 20.0
    assert lines[0] == "scores: 1 of 3, about 20 s left, 2 min until the first trial"
    lines.clear()
    assert list(announced("ab", "scores: {}", lines.append, expected_s=200, later_s=100)) == ["a", "b"]
    assert lines == ["scores: 0 of 2, about 3 min left, 5 min until the first trial"]
    lines.clear()
    assert list(announced([], "nothing: {}", lines.append, expected_s=200)) == [] and not lines


def test_steps_are_counted():
    lines: list[str] = []
    begin = counted(["teacher", "costs"], lines.append)
    begin("a folder")
    begin("three shapes")
    assert lines == ["[1/2] teacher: a folder", "[2/2] costs: three shapes"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (90, "2 min"), (720, "12 min"), (5399, "1 h 30 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.7131, "0.713"), (950_000, "950.0k"), (3_200_000, "3.2M"), (2.5e9, "2.5G")]
)
def test_numbers_are_short(value, text):
    assert short(value) == text
