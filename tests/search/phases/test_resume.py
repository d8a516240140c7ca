"""Exact resume: whatever moment ends a driver, the next one goes on as if nothing had happened."""

import os
from itertools import cycle

import fake_trials
import pytest
import toy

from search.proposals.asktell import AskTell
from search.store.parts import Store

STEPS = 3
MANY = toy.SPEC
FEW = toy.SPEC.replace("[2, 3, 4]", "[2, 3]").replace(
    "[[tasks]]",
    "learning_rate = [1e-3]\nmapping = ['uniform', 'last']\nteacher_layer = [6]\nrelation_heads = [12]\n"
    "initialisation = ['random']\n[[tasks]]",
)


class Killed(Exception):
    """The driver is gone."""


class MortalStore(Store):
    """A store whose process ends instead of writing once more than it may."""

    left = 10**9

    def write_part(self, dataset, number, rows):
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().write_part(dataset, number, rows)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr("search.proposals.draws.MAX_DUPLICATES", 6)


def search(folder, text, checkpoints, writes=10**9, **more):
    """One driver's life in one lane; trials keep checkpoints, as real ones do. Returns why it ended."""
    store = MortalStore(folder, ["toy"])
    store.left = writes
    options = {"train_tokens": 300_000, "candidates": 3, "rung_tokens": (100_000, 200_000), "rung_factor": 2,
               "protected": 1, **more}  # fmt: skip
    asktell = AskTell(store, toy.searched(text, **options))
    while (ask := asktell.ask()) is not None:
        quality, row = fake_trials.formula(ask.config), None
        for step in range(checkpoints.get(ask.trial, 0) + 1, STEPS + 1):
            early = quality * step / STEPS if step < STEPS else None
            report = fake_trials.said(step, early, train_tokens=100_000 * step, loss=1.0 / step, elapsed_s=float(step))
            row = asktell.report(ask.trial, report)
            checkpoints[ask.trial] = step
            if row is not None:
                break
        if row is None:
            asktell.tell(ask.trial, fake_trials.outcome(quality))
    return asktell.tally.ended


def ending(folder):
    """What a study comes to."""
    store = Store(folder, ["toy"])
    return (
        [(row["trial"], row["config_hash"], row["status"], row["rung"]) for row in store.read_rows("trials")],
        [(row["trial"], row["config_hash"]) for row in store.read_rows("asked")],
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """text, settings -> why a study ends that no driver leaves, and what it comes to; each is run once."""
    known = {}

    def run(text, more):
        key = (text, repr(more))
        if key not in known:
            folder = tmp_path_factory.mktemp("whole")
            known[key] = search(folder, text, {}, **more), ending(folder)
        return known[key]

    return run


@pytest.mark.parametrize("writes", [(2,), (1, 3), (2, 3, 4)], ids=str)
@pytest.mark.parametrize(
    ("text", "more"),
    [(MANY, {}), (MANY, {"candidates": 1, "limits": {"parameters": 5_000_000}}), (FEW, {"budget": 30})],
    ids=["rungs", "infeasible", "used up"],
)
def test_whatever_write_is_the_last_the_study_comes_to_the_same_end(text, more, writes, tmp_path, undisturbed):
    whole, its_ending = undisturbed(text, more)
    ended, lives, checkpoints = "", 0, {}
    for most in cycle(writes):
        lives += 1
        assert lives < 400
        try:
            ended = search(tmp_path, text, checkpoints, most, **more)
            break
        except Killed:
            continue
    assert lives > 12 and ended == whole
    assert ending(tmp_path) == its_ending
    assert search(tmp_path, text, checkpoints, writes=0, **more) == whole  # there is nothing left to do
