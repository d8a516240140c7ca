"""Mappings against worked tables, slow oracles and their defining properties."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest

from spaces.errors import InfeasibleConfig, SpecError
from spaces.students.layer_mapping import MAPPINGS, canonical_mapping, resolve_mapping

DEPTHS = [(student, teacher) for teacher in range(1, 25) for student in range(1, teacher + 1)]


@pytest.mark.parametrize(
    ("name", "student", "teacher", "expected"),
    [
        ("last", 3, 6, "3-6"),
        ("uniform", 3, 6, "1-2 2-4 3-6"),
        ("uniform", 4, 6, "1-2 2-3 3-5 4-6"),  # 1.5 and 4.5 are rounded up
        ("uniform", 6, 12, "1-2 2-4 3-6 4-8 5-10 6-12"),
        ("last_k", 3, 6, "1-4 2-5 3-6"),
        ("uniform_consecutive", 3, 6, "1-1 1-2 2-3 2-4 3-5 3-6"),
        ("uniform_consecutive", 4, 6, "1-1 2-2 2-3 3-4 4-5 4-6"),
        ("uniform_consecutive", 4, 12, "1-1 1-2 1-3 2-4 2-5 2-6 3-7 3-8 3-9 4-10 4-11 4-12"),
        ("uniform_last", 3, 6, "1-2 1-4 2-4 2-5 3-6"),
        ("uniform_last", 2, 2, "1-1 2-2"),
        ("first", 3, 6, "1-1 2-2 3-3"),
    ],
)
def test_worked_examples(name, student, teacher, expected):
    pairs = tuple(tuple(map(int, pair.split("-"))) for pair in expected.split())
    assert resolve_mapping(name, student, teacher) == pairs


@pytest.mark.parametrize("name", MAPPINGS)
def test_every_mapping_gives_legal_sorted_pairs_and_ends_at_its_last_layers(name):
    for student, teacher in DEPTHS:
        pairs = resolve_mapping(name, student, teacher)
        assert list(pairs) == sorted(set(pairs))
        assert all(1 <= i <= student and 1 <= j <= teacher for i, j in pairs)
        assert pairs[-1] == (student, student if name == "first" else teacher)
        assert name == "last" or {i for i, _ in pairs} == set(range(1, student + 1))


def half_up(value):
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def test_against_slow_oracles():
    for student, teacher in DEPTHS:
        layers = range(1, student + 1)
        uniform = [(i, half_up(Fraction(i * teacher, student))) for i in layers]
        last_k = [(i, teacher - student + i) for i in layers]
        assert MAPPINGS["uniform"](student, teacher) == tuple(uniform)
        assert MAPPINGS["last_k"](student, teacher) == tuple(last_k)
        assert MAPPINGS["uniform_last"](student, teacher) == tuple(sorted(set(uniform) | set(last_k)))


def test_consecutive_runs_cover_the_teacher_once_and_are_balanced():
    for student, teacher in DEPTHS:
        pairs = MAPPINGS["uniform_consecutive"](student, teacher)
        assert [j for _, j in pairs] == list(range(1, teacher + 1))
        lengths = [sum(i == layer for i, _ in pairs) for layer in range(1, student + 1)]
        assert max(lengths) == -(-teacher // student) and max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("text", [*MAPPINGS, "1-1 7-6"])
def test_a_student_deeper_than_the_teacher_is_refused(text):
    with pytest.raises(InfeasibleConfig, match="at most the teacher's 6, got 7; nearest legal: 6"):
        resolve_mapping(text, 7, 6)


def test_explicit_pairs_are_read_in_any_spelling():
    assert canonical_mapping(" 3-6, 1 - 2 2-4") == "1-2 2-4 3-6"
    assert resolve_mapping("3-1 2-4", 3, 6) == ((2, 4), (3, 1))


@pytest.mark.parametrize(
    ("text", "rule"), [("1-2 2-4", "ends at student layer 2"), ("1-2 3-7", "beyond the teacher's 6")]
)
def test_explicit_pairs_that_do_not_fit_are_infeasible(text, rule):
    with pytest.raises(InfeasibleConfig, match=rule):
        resolve_mapping(text, 3, 6)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("unifrm", "Did you mean 'uniform'"),
        ("1-2 2-x", "not pairs"),
        ("0-1 1-2", "counted from 1, got 0-1"),
        ("1-2 1-2", "repeats 1-2"),
        ("", "unknown mapping"),
    ],
)
def test_unreadable_mappings_are_spec_errors(text, rule):
    with pytest.raises(SpecError, match=rule):
        resolve_mapping(text, 3, 6)
