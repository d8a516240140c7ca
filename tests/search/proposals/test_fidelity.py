"""Asks with rungs, with a model, with earlier studies: still functions of the history."""

import os
from dataclasses import replace
from functools import partial

import fake_trials
import pytest
import toy

from search.proposals.asktell import AskTell
from search.proposals.warm_start import learn_from, read_study, refuse_incomparable
from search.store.history import Wanted
from search.store.parts import Store
from spaces.errors import StillhouseError

SPEC = toy.SPEC.replace('["hs", "mha"]', '["hs", "mha", "mha_direct"]').replace("trials = 8", "trials = 30")
RUNGS = (30_000, 90_000)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """Hundreds of rows, none of them worth waiting for a disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def make(folder, tokens=RUNGS, **more):
    options = {"budget": 30, "train_tokens": 300_000, "candidates": 4, "rung_tokens": tokens, "protected": 1, **more}
    return AskTell(Store(folder, ["toy"]), toy.searched(SPEC, **options))


def run_one(asktell, ask):
    """A trial by formula, which goes on after the rungs that an earlier run of it has passed."""
    passed = len(asktell.live[ask.trial].reports)
    for step, tokens in list(enumerate(asktell.rungs.tokens, start=1))[passed:]:
        quality = fake_trials.formula(ask.config) * (tokens / 300_000) ** 0.3
        row = asktell.report(ask.trial, fake_trials.said(step, quality, train_tokens=tokens))
        if row is not None:
            return row
    return asktell.tell(ask.trial, fake_trials.outcome(fake_trials.formula(ask.config), train_tokens=300_000))


run = partial(fake_trials.run, one=run_one)
"""A study of `make`, or the next of it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(make(folder))


def test_weak_trials_stop_and_keep_their_row(whole):
    folder, _ = whole
    store = Store(folder, ["toy"])
    rows = {row["trial"]: row for row in store.read_rows("trials") if row["status"] in ("finished", "stopped")}
    assert len(rows) == 30
    stopped = [row for row in rows.values() if row["status"] == "stopped"]
    assert 8 <= len(stopped) <= 26
    reports = store.read_rows("reports")
    for row in stopped:
        assert row["rung"] in (1, 2) and row["train_tokens"] == RUNGS[row["rung"] - 1]
        assert row["reason"].startswith(f"stopped at rung {row['rung']} (") and "not among the best" in row["reason"]
        assert row["score_toy"] == row["quality"] > 0 and row["parameters"] > 0
        assert [r["quality"] for r in reports if r["trial"] == row["trial"]][-1] == row["quality"]
    assert all(row["rung"] == 2 for row in rows.values() if row["status"] == "finished")
    finished = {row["method"] for row in rows.values() if row["status"] == "finished"}
    assert finished == {"hs", "mha", "mha_direct"}  # one of each is protected


def test_a_promoted_trial_goes_on_under_its_number(whole):
    _, asked = whole
    numbers = [trial for trial, _, _ in asked]
    again = {trial for trial in numbers if numbers.count(trial) > 1}
    assert again
    for trial in again:
        runs = [(config, status) for number, config, status in asked if number == trial]
        assert all(status == "stopped" for _, status in runs[:-1]) and all(config == runs[0][0] for config, _ in runs)


def test_a_promoted_trial_that_starts_over_is_not_judged_twice(whole, tmp_path):
    """Its checkpoint may be gone: it then reports the rungs that it has passed once more."""
    asktell = make(tmp_path)
    met = set()
    while (ask := asktell.ask()).trial not in met:
        run_one(asktell, ask)
        met.add(ask.trial)
    for step, tokens in enumerate(RUNGS[: asktell.rungs.level(asktell.live[ask.trial].reports[-1]["train_tokens"])], 1):
        assert asktell.report(ask.trial, fake_trials.said(step, -1.0, train_tokens=tokens)) is None
    assert asktell.tell(ask.trial, fake_trials.outcome(0.5)).status == "finished"


def test_a_resume_asks_what_an_undisturbed_run_would_have(whole, tmp_path):
    _, straight = whole
    parts = []
    while len(parts) < len(straight):
        before = len(parts)
        parts += run(make(tmp_path), most=7)
        assert len(parts) > before
    assert parts == straight


@pytest.mark.parametrize("most", [3, 5])
def test_killed_within_a_trial_the_resume_runs_it_again_and_goes_on(whole, tmp_path, most):
    _, straight = whole
    first = make(tmp_path)
    asked = run(first, most=most)
    ask = first.ask()
    quality = fake_trials.formula(ask.config) * 0.1**0.3
    row = first.report(ask.trial, fake_trials.said(1, quality, train_tokens=RUNGS[0]))
    second = make(tmp_path)
    is_promoted = ask.trial in {trial for trial, *_ in asked}
    assert second.waiting == (row is None and not is_promoted)  # a promoted one is found stopped, and promoted
    rest = run(second)
    expected = straight[len(asked) + (row is not None) :]
    assert [entry[:2] for entry in rest] == [entry[:2] for entry in expected]


def test_stopped_trials_are_no_full_results_for_the_sampler(whole):
    asktell = make(whole[0])
    rows = {row.trial: row for row in asktell.tally.rows}
    finished = [row for row in rows.values() if row.status == "finished"]
    assert sorted(t.values[0] for t in asktell.memory.told()) == sorted(row.quality for row in finished)
    shares = sorted({round(seen.share, 6) for seen in asktell.memory.seen([])})
    assert shares == [0.1, 0.3, 1.0]


def test_seeds_of_a_configuration_are_one_point_and_count_against_no_budget(whole, tmp_path):
    first = make(tmp_path, budget=6, tokens=())
    run(first)
    leader = next(row for row in first.tally.rows if row.status == "finished")
    config = first.history.config_of(leader.trial)
    wanted = [Wanted(config, seed) for seed in (5, 6, 7)]
    first = make(tmp_path, budget=6, tokens=RUNGS)
    first.narrow(lambda asktell: (wanted, 0))
    ask = first.ask()
    assert ask.seed == 6 and ask.config == config and first.spent == 6 and first.left == 2
    assert first.report(ask.trial, fake_trials.said(1, -5.0, train_tokens=RUNGS[0])) is None  # never stopped
    first.tell(ask.trial, fake_trials.outcome(leader.quality + 0.3))
    again = make(tmp_path, budget=6, tokens=())
    again.narrow(lambda asktell: (wanted, 0))
    ask = again.ask()
    assert ask.seed == 7
    again.tell(ask.trial, fake_trials.outcome(leader.quality))
    assert again.ask() is None and again.tally.ended == "every wanted trial has run"
    assert again.spent == 8 and again.left == 0
    told = [t for t in again.memory.told() if t.values[0] == pytest.approx(leader.quality + 0.1)]
    assert len(again.memory.told()) == 6 and len(told) == 1


def spec_from(spec, *folders):
    """The spec with these studies to learn from."""
    return replace(spec, search=replace(spec.search, warm_start=tuple(map(str, folders))))


def test_earlier_studies_are_learned_from(whole, tmp_path):
    spec, space = toy.read(SPEC)
    store = Store(whole[0], ["toy"])
    store.write_text("spec.toml", toy.to_toml(spec))
    lines = []
    warm = spec_from(spec, whole[0])
    refuse_incomparable(warm, None)
    earlier = learn_from(warm, space, lines.append)
    assert {round(each.share, 6) for each in earlier} == {0.1, 0.3, 1.0} and lines[0].startswith("learned ")
    warm = make(tmp_path, earlier=tuple(earlier))
    assert len(warm.memory.told()) == sum(each.share == 1.0 for each in earlier) > 0
    assert len(run(warm, most=3)) == 3
    _, few = toy.read(SPEC.replace("[2, 3, 4]", "[2, 3]"))
    seen, strange = read_study(store, ["toy"], few, 600_000)
    assert strange > 0 and {round(each.share, 6) for each in seen} == {0.05, 0.15, 0.5}
    other, _ = toy.read(SPEC.replace("sequence_length = 64", "sequence_length = 32"))
    with pytest.raises(StillhouseError) as caught:
        refuse_incomparable(spec_from(other, whole[0], tmp_path / "nosuch"), None)
    assert "cannot be compared with this study:\n  corpus.sequence_length: 64 in the study, 32" in str(caught.value)
    assert "nosuch is not a study folder" in str(caught.value)
