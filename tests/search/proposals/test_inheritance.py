"""Trials go on from what the search has trained, and its end trains the front on; a function of the history."""

import os
from dataclasses import replace
from functools import partial

import fake_trials
import numpy as np
import pytest
import toy

from search.proposals.asktell import AskTell
from search.proposals.inheritance import ancestor_of, best_of_shapes, continued, generation, tokens_before
from search.proposals.spending import Allowance
from search.samplers.context import Seen
from search.samplers.surrogate import predict
from search.store.history import Wanted, is_untrained
from search.store.keeping import Keeper
from search.store.parts import Store
from search.tune.tuning import ancestor, ask_tell, job_maker
from spaces.errors import SpecError
from spaces.records.fronts import by_configuration
from spaces.students.architecture import architecture_of
from trainables.training.reports import Trained

TOKENS, RUNGS = 300_000, (30_000, 90_000)
SPEC = toy.SPEC.replace("[[tasks]]", "learning_rate = [5e-4, 1e-3]\n[[tasks]]", 1)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """Many rows, none of them worth waiting for a disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def make(folder, **more):
    options = {"budget": 12, "train_tokens": TOKENS, "candidates": 8, "inherits": True}
    return AskTell(Store(folder, ["toy"]), toy.searched(SPEC, **options | more))


def quality(config, tokens):
    return fake_trials.formula(config) * (tokens / 3e6) ** 0.2


def told(asktell, ask):
    """Train a trial to its end, from its ancestor's weights if it has one; its row."""
    if is_untrained(ask.config):
        return asktell.tell(ask.trial, fake_trials.outcome(0.1))
    live = asktell.live[ask.trial]
    before = tokens_before(asktell.history, ask.trial)
    for step, tokens in list(enumerate(asktell.rungs.tokens, start=1))[len(live.reports) :]:
        if ask.config_hash != Wanted(ask.config, 5).digest:
            break
        said = fake_trials.said(step, quality(ask.config, before + tokens), train_tokens=tokens)
        if (row := asktell.report(ask.trial, said)) is not None:
            return row
    outcome = replace(
        fake_trials.outcome(quality(ask.config, before + TOKENS)),
        trained=Trained(1.0, 0.3, 3, TOKENS, 0.3, None, 0.4, "live"), student_path=f"students/{ask.trial:05d}",
        parent=ask.parent if before else None, ancestor_tokens=before or None,
    )  # fmt: skip
    return asktell.tell(ask.trial, outcome)


run = partial(fake_trials.run, one=told)


def test_a_trial_goes_on_from_the_best_of_its_shape_or_of_a_deeper_one(tmp_path):
    asktell = make(tmp_path)
    run(asktell)
    rows = asktell.tally.rows
    assert len(rows) == 12 and any(row.parent is None for row in rows) and any(row.parent is not None for row in rows)
    for number, row in enumerate(rows):
        earlier = rows[:number]
        own = [each for each in earlier if architecture_of(each.config) == architecture_of(row.config)]
        deeper = [
            each for each in earlier
            if each.config["num_layers"] > row.config["num_layers"]
            and each.config["hidden_size"] == row.config["hidden_size"]
        ]  # fmt: skip
        best = max(own or deeper, key=lambda each: each.rank_quality, default=None)
        assert row.parent == (None if best is None else best.trial)
        assert asktell.history.asked[row.trial]["parent"] == row.parent
        if best is not None:
            assert row.ancestor_tokens == best.line_tokens and row.line_tokens == best.line_tokens + TOKENS
    shares = {each.share for each in asktell.memory.seen([])}
    assert shares == {row.line_tokens / TOKENS for row in rows} and max(shares) >= 2


def test_who_may_be_gone_on_from():
    def row(trial, layers, width, quality, **more):
        shape = {"num_layers": layers, "hidden_size": width, "num_heads": 4, "intermediate_size": 4 * width}
        columns = {"seed": 5, "train_tokens": 100, "student_path": "students/x", "method": "hs", **shape}
        return toy.row(trial=trial, quality=quality, **columns | more)

    rows = [
        row(0, 2, 96, 0.5), row(1, 2, 96, 0.7), row(2, 2, 96, 0.9, seed=6), row(3, 2, 96, 0.9, student_path=""),
        row(4, 2, 96, 0.9, kept_tokens=0), row(5, 4, 96, 0.6), row(6, 3, 96, 0.6), row(7, 3, 192, 0.8),
        row(8, 2, 96, 0.7), row(9, 2, 96, 0.9, status="failed"),
    ]  # fmt: skip
    best = best_of_shapes(rows, 5)
    assert ancestor_of(rows[0].config, best).trial == 1  # of equal ones the first
    narrow = {**rows[0].config, "num_layers": 1}
    assert ancestor_of(narrow, best_of_shapes(rows[5:8], 5)).trial == 5
    assert ancestor_of(rows[5].config, best_of_shapes(rows[:4], 5)) is None  # none is deepened
    assert ancestor_of({**rows[0].config, "num_heads": 2}, best) is None  # other heads, other weights
    assert ancestor_of({**rows[0].config, "family": "electra"}, best) is None
    assert ancestor_of({**rows[0].config, "method": "untrained"}, best) is None


def test_a_resume_knows_whom_a_trial_goes_on_from(tmp_path):
    whole = run(make(tmp_path / "whole"))
    run(make(tmp_path / "cut"), most=7)
    left_behind = make(tmp_path / "cut").ask()  # asked, and then the driver dies
    asktell = make(tmp_path / "cut")
    again = asktell.ask()
    assert (again.trial, again.parent) == (left_behind.trial, left_behind.parent) and again.parent is not None
    told(asktell, again)
    run(asktell)
    parents = [
        {trial: row["parent"] for trial, row in make(tmp_path / name).history.asked.items()}
        for name in ("whole", "cut")
    ]
    assert parents[0] == parents[1] and len(whole) == 12


@pytest.mark.parametrize("schedule", ["halving", "freeze_thaw"])
def test_the_end_of_a_search_trains_its_front_on(tmp_path, schedule):
    options = {"budget": 5, "final": 4, "schedule": schedule}
    if schedule == "freeze_thaw":
        options["rung_tokens"] = RUNGS
    asktell = make(tmp_path, **options)
    assert asktell.left == 9
    while len([row for row in asktell.tally.rows if row.parent == row.trial or is_final(row)]) < 2:
        assert told(asktell, asktell.ask())
    searched = [row for row in asktell.tally.rows if not is_final(row)]
    asktell = make(tmp_path, **options)  # in the middle of the end
    run(asktell)
    rows = {row.trial: row for row in asktell.tally.rows}
    final = [row for row in rows.values() if is_final(row)]
    assert len(final) == 4 and asktell.tally.ended == "the budget of 9 trials is spent" and asktell.left <= 1
    assert [row.trial for row in rows.values()][-4:] == [row.trial for row in final]  # after all others
    assert len(searched) == len(rows) - 4
    for row in final:
        parent = rows[row.parent]
        assert row.config == parent.config and row.line_tokens == parent.line_tokens + TOKENS
        assert (row.rank_quality > parent.rank_quality and row.rung is None) or not row.rung
    assert len({row.parent for row in final}) == 4
    merged = by_configuration(list(rows.values()))
    assert {row.trial for row in final} <= {row.trial for row in merged}  # no seeds of what they go on from


def is_final(row):
    return row.config_hash != Wanted(row.config, row.seed).digest


def test_a_front_that_cannot_be_trained_on_ends_the_search(tmp_path):
    asktell = make(tmp_path, budget=1, final=3)
    row = told(asktell, asktell.ask())
    asktell.history.forget_student(row)
    assert asktell.ask() is None
    assert asktell.tally.ended == "the search is over, and no member of its front can be trained on"


def test_the_member_with_the_fewest_tokens_is_trained_on_first():
    aim = toy.searched(SPEC).aim
    rows = [
        toy.row(trial=0, quality=0.9, parameters=3e6, train_tokens=100, student_path="a", num_layers=4),
        toy.row(trial=1, quality=0.5, parameters=1e6, train_tokens=300, student_path="b", num_layers=2),
        toy.row(trial=2, quality=0.4, parameters=2e6, train_tokens=10, student_path="c", num_layers=3),  # beaten
        toy.row(trial=3, quality=0.95, parameters=4e6, train_tokens=10, kept_tokens=0, student_path="d", num_layers=5),
    ]
    first = continued(rows, aim, 0, ())
    second = continued(rows, aim, 0, {first.digest})
    assert (first.parent, second.parent) == (0, 1) and first.digest != second.digest
    assert continued(rows, aim, 0, {first.digest, second.digest}) is None
    assert continued(rows, aim, 7, ()) is None


def test_the_hours_of_the_end(tmp_path):
    now_s = [0.0]
    searched = toy.searched(
        SPEC, budget=20, final=9, train_tokens=TOKENS, allowance=Allowance(1.0), final_allowance=Allowance(1.5)
    )
    asktell = AskTell(Store(tmp_path, ["toy"]), searched, lambda: now_s[0])
    begun = []
    while (ask := asktell.ask()) is not None:
        begun.append((now_s[0], ask.config_hash != Wanted(ask.config, 5).digest))
        now_s[0] += 900.0
        told(asktell, ask)
    assert begun == [(0, False), (900, False), (1800, False), (2700, False), (3600, True), (4500, True)]
    assert asktell.tally.ended == "the budget of 1.5 hours is spent"


def test_what_more_tokens_promise_is_learned_from_ancestors():
    configs = [{"method": "hs", "num_layers": layers} for layers in (2, 3, 4)]
    levels = (0.2, 0.5, 0.8)
    seen = [
        Seen(config, share, level + 0.07 * np.log(share))
        for config, level in zip(configs, levels, strict=True)
        for share in (0.3, 1.0, 2.0)
    ]
    once, _ = predict(configs, seen)
    same, narrow = predict(configs, seen, np.ones(3))
    later, wide = predict(configs, seen, np.full(3, 4.0))
    assert once == pytest.approx(levels, abs=0.02) and (same == once).all()
    assert later - once == pytest.approx(np.full(3, 0.07 * np.log(4.0)), abs=0.04) and (wide > narrow).all()


def test_jobs_of_inherited_and_final_trials(tmp_path):
    text = SPEC.replace("train_tokens = 300_000", "train_tokens = 300_000\nfinal_share = 0.5")
    text = text.replace("starts = false", "").replace(
        "[cluster]", "[search]\ninherit = true\n[rungs]\nfirst_tokens = 100_000\n[cluster]"
    )
    plan, store = toy.plan(text), Store(tmp_path, ["toy"])
    asktell = ask_tell(replace(plan, meta=plan.meta), store, print)
    assert (asktell.searched.budget, asktell.searched.final, asktell.searched.inherits) == (4, 4, True)
    keeper = Keeper(asktell.history, asktell.aim, 20.0)
    make_job = job_maker(plan, asktell.history, keeper.started)
    jobs = {}
    while (ask := asktell.ask()) is not None:
        jobs[ask.trial] = make_job(ask)
        told(asktell, ask)
    rows = {row.trial: row for row in asktell.tally.rows}
    final = [row for row in rows.values() if is_final(row)]
    assert final and all(jobs[row.trial].rungs == () for row in final)
    assert all(jobs[row.trial].rungs for row in rows.values() if not is_final(row))
    given = {row.trial for row in rows.values() if (job := jobs[row.trial]).ancestor and job.ancestor.is_given}
    assert given == {row.trial for row in final}
    for row in final:
        given = jobs[row.trial].ancestor
        assert given.trial == row.parent and given.folder == store.uri("students", f"{row.parent:05d}")
        assert given.tokens == rows[row.parent].line_tokens
        assert given.generation == generation(asktell.history, row.parent) >= 1
    lost = rows[final[0].parent]
    asktell.history.forget_student(lost)
    ask = asktell.history.again(asktell.history.asked[final[0].trial]).ask
    assert ask.parent == lost.trial and ancestor(ask, asktell.history) is None


def test_a_parent_is_kept_while_what_goes_on_from_it_runs(tmp_path):
    asktell = make(tmp_path, budget=30)
    rows = []
    while not rows or rows[-1].parent is None or rows[-1].parent == min(row.trial for row in rows):
        rows.append(told(asktell, asktell.ask()))
    keeper = Keeper(asktell.history, asktell.aim, 20.0)
    begun = asktell.ask()
    while begun.parent is None:
        told(asktell, begun)
        begun = asktell.ask()
    keeper.started(begun.trial)
    assert begun.parent in keeper._needed(asktell.tally.rows)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("[comparison]\nseeds = 2", "a comparison runs every trial from its own start; leave inherit out"),
        ("[evaluation]\nstarts = false", r"\[search\] inherit takes over the weights that score better: set"),
    ],
)
def test_a_spec_in_which_nothing_can_be_inherited(setting, said):
    text = SPEC.replace("[evaluation]\nstarts = false", setting).replace(
        "[cluster]", "[search]\ninherit = true\n[cluster]"
    )
    with pytest.raises(SpecError, match=said):
        toy.read(text)


def test_a_share_that_is_no_trial():
    text = SPEC.replace("trials = 8", "trials = 8\nfinal_share = 0.05").replace("starts = false", "")
    with pytest.raises(SpecError, match=r"final_share 0.05 of 8 trials is none; at least 0.12"):
        toy.read(text)
