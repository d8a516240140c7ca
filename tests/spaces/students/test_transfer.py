"""Methods and their weighted sums."""

import pytest

from spaces.errors import SpecError
from spaces.students.stages import axes_of, canonical_method, terms_of
from spaces.students.transfer import parse_method


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("mha", "mha"),
        ("od + 0.5 hs", "od + 0.5 hs"),
        ("0.5hs+od", "od + 0.5 hs"),
        ("1.0 * hs + .5*od", "0.5 od + hs"),
        ("1e-5 hs + 2e+1 od", "20 od + 1e-05 hs"),
        ("mlm + mha_direct + mha", "mha + mha_direct + mlm"),
        ("1e16 hs", "1e+16 hs"),
    ],
)
def test_a_method_has_one_spelling(text, canonical):
    assert canonical_method(text) == canonical
    assert canonical_method(canonical) == canonical
    assert parse_method(canonical) == parse_method(text)


def test_parse_method_gives_weights():
    assert parse_method("0.5 hs + od") == (("od", 1.0), ("hs", 0.5))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("mhaa", "Did you mean 'mha'"),
        ("", "is not a method"),
        ("od +", "is not a method"),
        ("od hs", "is not a method"),
        ("od + od", "names 'od' twice"),
        ("0 hs", "must be positive and finite, got 0"),
        ("-1 hs", "must be positive and finite, got -1"),
        ("1e999 hs", "must be positive and finite, got inf"),
    ],
)
def test_bad_methods_are_refused(text, rule):
    with pytest.raises(SpecError, match=rule):
        parse_method(text)


def test_every_problem_of_a_sum_is_reported():
    with pytest.raises(SpecError) as error:
        parse_method("odd + 0 hs + 3")
    assert len(error.value.problems) == 3


def test_axes_of_a_sum_are_those_of_its_terms():
    assert [axis.name for axis in axes_of("mha + mha_direct")] == ["relation_heads", "teacher_layer"]
    assert [axis.name for axis in axes_of("od + 0.5 hs")] == ["temperature", "mapping"]
    assert axes_of("mlm") == ()
    assert [term.name for term in terms_of("hs + od")] == ["od", "hs"]
