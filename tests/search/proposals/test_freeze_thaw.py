"""Freeze and thaw: what is taken next, what pauses, when it ends; a function of the history."""

import json
import os
from functools import partial

import fake_trials
import numpy as np
import pytest
import toy

from search.proposals.asktell import AskTell
from search.proposals.freeze_thaw import LISTED, Option, draw, listed
from search.proposals.spending import Allowance
from search.store.parts import Store
from spaces.space.prior import read_prior
from spaces.space.search_space import config_hash
from trainables.lanes.messages import TrialOutcome

RANGED = toy.SPEC.replace('["hs", "mha"]', '["hs", "mha", "mha_direct"]')
STARTS = "initialisation = ['projected', 'teacher_layers', 'projected_layers', 'first_layers']"
LISTS = f"learning_rate = [5e-4, 1e-3]\nmapping = ['uniform', 'last']\n{STARTS}\n"
SPEC = RANGED.replace("[[tasks]]", LISTS + "[[tasks]]", 1)
RUNGS = (30_000, 90_000)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """Hundreds of rows, none of them worth waiting for a disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Time:
    """A clock that a test moves."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def make(folder, text=SPEC, now_s=None, **more):
    options = {
        "budget": 8, "train_tokens": 300_000, "candidates": 16, "rung_tokens": RUNGS, "schedule": "freeze_thaw",
        "reference": toy.costs({"num_layers": 6, "hidden_size": 384, "num_heads": 12, "intermediate_size": 1536}),
    }  # fmt: skip
    return AskTell(Store(folder, ["toy"]), toy.searched(text, **options | more), now_s or Time())


def on(asktell, ask):
    """Train a trial on by formula, a second for 1,000 tokens; its row when it pauses or ends."""
    passed = len(asktell.live[ask.trial].reports)
    for step, tokens in list(enumerate((*RUNGS, 300_000), start=1))[passed:]:
        asktell.clock.now_s.now_s += (tokens - (0, *RUNGS)[step - 1]) / 1000
        if tokens == 300_000:
            return asktell.tell(ask.trial, fake_trials.outcome(fake_trials.formula(ask.config), train_tokens=tokens))
        quality = fake_trials.formula(ask.config) * (tokens / 300_000) ** 0.3
        said = fake_trials.said(step, quality, train_tokens=tokens, elapsed_s=tokens / 1000)
        if (row := asktell.report(ask.trial, said)) is not None:
            return row
    return None


run = partial(fake_trials.run, one=on)
"""A study of `make`, or the next of it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(make(folder))


def test_every_branch_is_tried_to_its_first_rung_then_what_promises_most_goes_on(whole):
    folder, asked = whole
    firsts = [(config["method"], config.get("mapping")) for _, config, _ in asked[:4]]
    assert {*firsts} == {("hs", "uniform"), ("hs", "last"), ("mha", None), ("mha_direct", None)}
    assert [status for _, _, status in asked[:3]] == ["stopped"] * 3
    asktell = make(folder)
    rows = asktell.tally.rows
    trained = sum(row.train_tokens or 300_000 for row in rows) / 300_000
    assert len(rows) > 8 >= trained > 7 and asktell.spent == int(trained)
    numbers = [trial for trial, *_ in asked]
    assert any(numbers.count(trial) > 1 for trial in numbers)  # thawed
    assert asktell.ask() is None and asktell.tally.ended == "the budget of 8 trials is spent"
    stopped = [row for row in rows if row.status == "stopped"]
    assert all(row.reason.startswith(f"paused at rung {row.rung} (") for row in stopped)
    assert any("promises" in row.reason and "for its price, this one" in row.reason for row in stopped)


def test_decisions_are_recorded_with_what_they_were_made_against(whole):
    folder, asked = whole
    rows = sorted(Store(folder, ["toy"]).read_rows("decisions"), key=lambda row: row["decision"])
    assert [row["decision"] for row in rows] == list(range(len(rows)))
    starts = [(row["trial"], row["action"]) for row in rows if row["action"] in ("try", "thaw")]
    seen = set()
    for (trial, action), (number, *_) in zip(starts, asked, strict=True):
        assert trial == number and action == ("thaw" if number in seen else "try")
        seen.add(number)
    for row in rows:
        if row["gain"] is not None and row["rival_gain"] is not None:
            own, rival = row["gain"] / row["price"], row["rival_gain"] / row["rival_price"]
            assert own <= rival if row["action"] == "pause" else own >= rival
            assert json.loads(row["rival_config"]) and row["compared"] > 1
    pauses = [row for row in rows if row["action"] == "pause"]
    for row in pauses:  # what a pause makes room for is what is taken next, one trial running at a time
        after = rows[row["decision"] + 1]
        assert after["action"] == ("try" if row["rival"] is None else "thaw")


@pytest.mark.parametrize(("text", "most"), [(SPEC, 3), (RANGED, 1)])
def test_a_resume_decides_what_an_undisturbed_run_would_have(text, most, tmp_path):
    straight, parts = run(make(tmp_path / "a", text, budget=4)), []
    while new := run(make(tmp_path / "b", text, budget=4), most=most):
        parts += new
    assert parts == straight


def test_killed_within_a_trial_it_is_run_again_first_thawed_or_new(whole, tmp_path):
    _, straight = whole
    thawed = next(i for i, (trial, *_) in enumerate(straight) if trial in {each[0] for each in straight[:i]})
    for folder, before in ((tmp_path / "new", 2), (tmp_path / "thawed", thawed)):
        first = make(folder)
        run(first, most=before)
        cut = first.ask()
        second = make(folder)
        assert second.waiting == 1
        assert [entry[:2] for entry in run(second)] == [entry[:2] for entry in straight[before:]]
        assert cut.trial == straight[before][0]


def test_lanes_do_not_take_the_same_and_the_budget_holds(tmp_path):
    asktell, live, trained = make(tmp_path), [], 0
    while True:
        while len(live) < 3 and (ask := asktell.ask()) is not None:
            live.append(ask)
        if not live:
            break
        assert len({ask.trial for ask in live}) == len(live)
        assert len({config_hash(ask.config, 5) for ask in live}) == len(live)
        on(asktell, live.pop(0))
        trained = sum(row.train_tokens or 300_000 for row in asktell.tally.rows) / 300_000
        assert trained <= 8 + 1e-9
    assert asktell.tally.ended and trained > 7


def test_hours_end_a_search_in_whole_students(tmp_path):
    """300 s a trial: at the end of the half hour nothing is begun that would not be ready."""
    asktell = make(tmp_path, budget=100, allowance=Allowance(0.5))
    run(asktell)
    assert "0.5 hours" in asktell.tally.ended
    assert 1500 < asktell.clock.seconds < 1.2 * 1800 and asktell.tally.count("finished") >= 2
    again = make(tmp_path, budget=100, allowance=Allowance(0.5))
    assert again.ask() is None and again.clock.seconds == asktell.clock.seconds  # the hours of both runs count


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_cost_ends_a_search_in_whole_students(tmp_path, lanes):
    """300 s a trial at 12 an hour: a trial costs 1, and of two at a time each waits for the other."""
    allowance = Allowance(cost=6.0, price=12.0)
    asktell, live = make(tmp_path, budget=100, allowance=allowance), []
    while True:
        while len(live) < lanes and (ask := asktell.ask()) is not None:
            live.append(ask)
        if not live:
            break
        on(asktell, live.pop(0))
    assert "a cost of 6" in asktell.tally.ended or "the cost of 6" in asktell.tally.ended
    spent = 12.0 * asktell.clock.trial_s / 3600
    assert 5.0 < spent < 1.2 * 6 and asktell.tally.count("finished") >= 1
    assert asktell.clock.trial_s == pytest.approx(asktell.clock.seconds * lanes, rel=0.2)
    again = make(tmp_path, budget=100, allowance=allowance)
    assert again.ask() is None and again.clock.trial_s == asktell.clock.trial_s


def test_it_stops_when_an_hour_promises_too_little(tmp_path):
    asktell = make(tmp_path, budget=100, stop_when=0.05)
    run(asktell)
    assert "less than [search] stop_when 0.05" in asktell.tally.ended and 4 < len(asktell.tally.rows) < 60


def test_what_is_tried_first(tmp_path):
    _, space = toy.read(SPEC)
    wanted = [config for config in space.enumerate() if config["method"] == "mha"][5:7]
    asktell = make(tmp_path, try_first=tuple(wanted))
    assert [asktell.ask().config for _ in wanted] == wanted
    assert asktell.ask().config["method"] != "mha"  # that branch has been tried


def test_what_is_expected_is_tried_first_and_does_not_hide_what_is_better(tmp_path):
    _, space = toy.read(SPEC)
    wrong, _ = read_prior(space, {"learning_rate": {"0.0005": 8.0}})  # by the formula, 1e-3 is better
    asktell = make(tmp_path, prior=wrong, budget=12)
    run(asktell)
    rates = [row.config["learning_rate"] for row in sorted(asktell.tally.rows, key=lambda row: row.trial)]
    assert rates[:8].count(5e-4) >= 6 and rates[8:].count(1e-3) > len(rates[8:]) / 3, rates


def test_a_used_up_space_ends(tmp_path):
    few = (
        SPEC.replace('["hs", "mha", "mha_direct"]', '["mha"]')
        .replace("mapping = ['uniform', 'last']", "")
        .replace(STARTS, "initialisation = ['random']")
        .replace("[2, 3, 4]", "[2]")
        .replace("[96, 192, 384]", "[96]")
    )
    few = few.replace("ffn_ratio", "relation_heads = [12]\nteacher_layer = [6]\nffn_ratio")
    asktell = make(tmp_path, few)
    assert len({trial for trial, *_ in run(asktell)}) == 2
    assert asktell.tally.ended == "every configuration of the space has been tried"


def test_a_lost_checkpoint_makes_a_trial_dear_again(whole):
    asktell = make(whole[0])
    rule, trial = asktell._taker.rule, asktell.history.stopped[0]
    (kept,) = [each for each in rule.options({}, None, 0) if each.trial == trial]
    asktell.history.lost_checkpoints.add(trial)
    (lost,) = [each for each in rule.options({}, None, 0) if each.trial == trial]
    assert kept.left == pytest.approx(1 - asktell.history.reports[trial][-1]["train_tokens"] / 300_000)
    assert lost == Option(kept.config, kept.costs, trial, 1.0)


def test_a_space_is_listed_or_drawn_from(tmp_path):
    _, space = toy.read(SPEC)
    assert len(listed(space)) == len(list(space.enumerate())) < LISTED
    _, ranged = toy.read(RANGED)
    assert listed(ranged) is None
    assert make(tmp_path / "a").scope.endswith(f"looks at all {len(listed(space))} configurations left of the space")
    assert "looks at 16 draws, since" in make(tmp_path / "b", RANGED).scope
    assert (
        "1 trials are too few to try each of 3" in make(tmp_path / "c", RANGED, budget=1, rung_tokens=(90_000,)).scope
    )
    rng = np.random.default_rng(0)
    near = draw(ranged, rng, None)
    for _ in range(20):
        other = draw(ranged, rng, near)
        ranged.check(other)
        changed = [name for name in near if other.get(name) != near[name]]
        assert len(changed) <= 3 or other["method"] != near["method"] or other["hidden_size"] != near["hidden_size"]


def test_what_failed_is_known_to_the_rule_and_after_a_resume(tmp_path):
    asktell = make(tmp_path, budget=3)

    def failing(asktell, ask):
        return asktell.tell(ask.trial, TrialOutcome(reason="diverged")) if ask.trial % 2 else on(asktell, ask)

    fake_trials.run(asktell, one=failing)
    failed = [row.config for row in asktell.tally.rows if row.status == "failed"]
    assert failed
    for each in (asktell, make(tmp_path, budget=3)):
        assert [dict(config) for config in each.memory.evidence([], each.searched.seed).failed] == failed
