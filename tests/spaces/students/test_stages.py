"""The stages of a method: one spelling, shares that add up to 1, and what is refused."""

import pytest

from spaces.errors import SpecError
from spaces.students.stages import Stage, axes_of, canonical_method, stages_of, terms_of


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("hs  then od", "hs then od"),
        ("hs for 0.5 then od", "hs then od"),
        ("hs for .25 then 1.0 od", "hs for 0.25 then od"),
        ("hs then od for 0.75", "hs for 0.25 then od"),
        ("0.5 mha + hs for 0.6 on supplement then od for 0.2 unfreezing then mlm unfreezing",
         "hs + 0.5 mha on supplement for 0.6 then od unfreezing for 0.2 then mlm unfreezing"),
        ("hs for 0.1 then mha then od", "hs for 0.1 then mha for 0.45 then od"),
        ("hs then hs then hs for 0.333333333333", "hs then hs then hs"),
        ("mha on supplement", "mha on supplement"),
    ],
)  # fmt: skip
def test_stages_have_one_spelling(text, canonical):
    assert canonical_method(text) == canonical
    assert canonical_method(canonical) == canonical


def test_what_is_read():
    first, second, third = stages_of("hs on supplement for 0.5 then od unfreezing then mha")
    assert first == Stage("hs", 0.5, on_supplement=True)
    assert second == Stage("od", 0.25, unfreezing=True)
    assert third == Stage("mha", 0.25)
    assert stages_of("od + 0.5 hs") == (Stage("od + 0.5 hs"),)


def test_terms_and_axes_are_those_of_all_stages():
    method = "0.5 hs then mha then od + hs"
    assert [term.name for term in terms_of(method)] == ["od", "hs", "mha"]
    assert [axis.name for axis in axes_of(method)] == ["temperature", "mapping", "relation_heads", "teacher_layer"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("hs then", "'hs then' is not a method"),
        ("hs then mhaa", "Did you mean 'mha'"),
        ("hs for 0.5", "add up to 0.5, not to 1; nearest: 1 for the last"),
        ("hs for 0.5 then od for 0.7", "add up to 1.2, not to 1; nearest: 0.5 for the last"),
        ("hs for 0.5 then od for 0.5 then mha", "add up to 1, not to 1; leave less than 1 for the 1 without a share"),
        ("hs for 2 then od", "a number above 0, 1 at most, got '2'; nearest: 1"),
        ("hs for 0 then od", "a number above 0, 1 at most, got '0'"),
        ("hs for half then od", "a number above 0, 1 at most, got 'half'"),
        ("hs on suplement then hs", "unknown text 'suplement'. Did you mean 'supplement'"),
        ("hs for 0.5 for 0.5 then od", "says 'for' twice"),
        ("hs then mha unfreezing", "begins with a head of the student, and 'mha' trains none; methods that do: od"),
    ],
)
def test_what_is_refused(text, rule):
    with pytest.raises(SpecError, match=rule):
        stages_of(text)


def test_every_problem_of_all_stages_is_reported():
    with pytest.raises(SpecError) as error:
        stages_of("odd for 3 then hs unfreezing on other then 0 mha")
    assert len(error.value.problems) == 5
