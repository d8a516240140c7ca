"""The errors say the rule, the value and the nearest legal one, and survive a trip between processes."""

import pickle

import pytest

from spaces.errors import InfeasibleConfig, SpecError, StillhouseError, TrialFailed, choose, nearest


def test_choose_returns_the_value_and_names_the_nearest_otherwise():
    table = {"minilm": 1, "kl": 2}
    assert choose("loss", table, "kl") == 2
    with pytest.raises(SpecError, match=r"unknown loss 'minillm'. Did you mean 'minilm'\? Known: kl, minilm"):
        choose("loss", table, "minillm")


def test_nearest_is_silent_when_nothing_is_close():
    assert nearest("temperature", ["seed"]) == ""


def test_spec_error_lists_every_problem_with_its_source():
    text = str(SpecError(["first", "second"], source="quick.toml"))
    assert text == "quick.toml: 2 problems:\n  1. first\n  2. second"
    assert str(SpecError(["only"])) == "only"


@pytest.mark.parametrize("error", [SpecError(["a", "b"], "x.toml"), InfeasibleConfig("no"), TrialFailed("diverged")])
def test_errors_pickle(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and isinstance(copy, StillhouseError) and str(copy) == str(error)
