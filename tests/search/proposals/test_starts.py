"""Starts are scored as they are before any trial trains, once, within the limits, and at no cost to the budget."""

import fake_trials
import pytest
import toy

from search.phases.promote import finished_trial
from search.proposals.asktell import AskTell
from search.proposals.leaders import leading
from search.store.history import is_untrained
from search.store.parts import Store
from spaces.errors import StillhouseError
from spaces.students.architecture import architecture_of

SPEC = toy.SPEC.replace("[2, 3, 4]", "[2, 3]").replace("[96, 192, 384]", "[96, 384]")
SPEC = SPEC.replace("ffn_ratio", 'initialisation = ["random", "projected_layers", "first_layers"]\nffn_ratio')
WANTED = 2 * 2 * 2


def search(store, **more):
    _, space = toy.read(SPEC)
    return AskTell(store, toy.searched(SPEC, starts=space.starts(), budget=3, **more))


def test_every_start_is_asked_for_first_and_counts_against_no_budget(tmp_path):
    store = Store(tmp_path, ["toy"])
    asktell = search(store)
    asked = [asktell.ask() for _ in range(WANTED)]
    starts = {(architecture_of(ask.config), ask.config["initialisation"]) for ask in asked}
    assert len(starts) == WANTED and all(is_untrained(ask.config) for ask in asked)
    assert asktell.ask() is None and not asktell.tally.ended  # what they score is known before a token is spent
    for ask in asked[:-1]:
        assert asktell.tell(ask.trial, fake_trials.outcome(0.5)).status == "finished"
    again = search(store)  # the last is run again, and nothing else
    assert again.ask().trial == asked[-1].trial and again.ask() is None
    again.tell(asked[-1].trial, fake_trials.outcome(0.9))
    assert again.spent == 0 and again.left == 3
    first = again.ask()
    assert not is_untrained(first.config) and first.trial == WANTED
    assert {each.quality for each in again.memory.seen([])} == {0.5, 0.9} and again.memory.told() == []
    again.tell(first.trial, fake_trials.outcome(0.1))
    assert again.spent == 1 and len(again.memory.told()) == 1
    assert [row.trial for row in leading(again.tally.rows, again.aim, 5)] == []  # the start, which has no seeds, wins
    with pytest.raises(StillhouseError, match="is a start that was never trained"):
        finished_trial(store, asked[0].trial)


def test_starts_beyond_a_limit_are_left_out(tmp_path):
    limits = {"latency_ms": 3.0}
    asktell = search(Store(tmp_path, ["toy"]), limits=limits)
    asked = [asktell.ask() for _ in range(WANTED // 2)]
    assert {ask.config["hidden_size"] for ask in asked} == {96} and asktell.ask() is None
