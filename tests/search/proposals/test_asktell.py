"""Asks are a function of the history; the store answers what it knows."""

import json
import math
import os
from dataclasses import replace

import fake_trials
import pytest
import toy

from search.proposals.asktell import AskTell
from search.proposals.told import branches
from search.samplers.registry import GRID, SAMPLERS
from search.store.parts import Store
from spaces.records.fronts import front_of
from spaces.space.search_space import config_hash
from trainables.lanes.messages import TrialOutcome, Variant

LISTS = toy.SPEC.replace(
    "[[tasks]]", "learning_rate = [1e-3]\nmapping = ['uniform']\nteacher_layer = [6]\n[[tasks]]", 1
)  # fmt: skip
BOTH = ["quality", "parameters"]
TINY = (
    LISTS.replace("teacher_layer = [6]", "initialisation = ['random']")
    .replace("[2, 3, 4]", "[2]")
    .replace('["hs", "mha"]', '["hs"]')
)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """Hundreds of rows, none of them worth waiting for a disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def make(folder, sampler="tpe", text=LISTS, **more):
    return AskTell(Store(folder, ["toy"]), toy.searched(text, sampler=sampler, **{"objectives": BOTH, **more}))


def measure(config):
    return fake_trials.outcome(fake_trials.formula(config))


def run(asktell, most=10_000):
    """Ask and tell, one at a time; returns the configurations in order."""
    asked = []
    while len(asked) < most and (ask := asktell.ask()) is not None:
        asktell.tell(ask.trial, measure(ask.config))
        asked.append(ask.config)
    return asked


@pytest.mark.parametrize("sampler", [*SAMPLERS, GRID])
def test_every_sampler(sampler, tmp_path):
    text = toy.SPEC if sampler != "grid" else LISTS
    first = make(tmp_path / "a", sampler, text)
    configs = run(first)
    assert len(configs) == 12 == first.spent
    for config in configs:
        first.searched.space.check(config)
        json.dumps(config)
    assert first.tally.ended == "the budget of 12 trials is spent"
    assert run(make(tmp_path / "b", sampler, text)) == configs  # the same seed, the same asks
    assert run(make(tmp_path / "c", sampler, text, seed=6)) != configs


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_resume_asks_what_an_undisturbed_run_would_have(sampler, tmp_path):
    text = toy.SPEC if sampler != "grid" else LISTS
    whole = run(make(tmp_path / "whole", sampler, text, budget=20))
    parts = []
    while len(parts) < 20:
        parts += run(make(tmp_path / "parts", sampler, text, budget=20), most=7)
    assert parts == whole


def test_nsga2_goes_on_after_a_resume(tmp_path):
    run(make(tmp_path, "nsga2", toy.SPEC, budget=50), most=30)
    assert len(run(make(tmp_path, "nsga2", toy.SPEC, budget=50))) == 20


@pytest.mark.parametrize("sampler", [*SAMPLERS, GRID])
def test_what_was_asked_and_not_finished_comes_first(sampler, tmp_path):
    first = make(tmp_path, sampler)
    asks = [first.ask() for _ in range(4)]
    first.tell(asks[1].trial, measure(asks[1].config))
    again = make(tmp_path, sampler)
    assert (again.spent, again.waiting) == (1, 3)
    resumed = [again.ask() for _ in range(3)]
    assert [(a.trial, a.config, a.config_hash) for a in resumed] == [
        (a.trial, a.config, a.config_hash) for a in asks if a.trial != asks[1].trial
    ]
    fresh = again.ask()
    assert fresh.trial == 4


def test_asked_is_written_before_the_trial_runs(tmp_path):
    asktell = make(tmp_path)
    ask = asktell.ask()
    (row,) = asktell.store.read_rows("asked")
    assert row["trial"] == ask.trial and json.loads(row["config"]) == ask.config
    assert row["config_hash"] == config_hash(ask.config, 5)
    assert asktell.store.read_rows("trials") == []


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (fake_trials.outcome(math.nan), "quality is not a finite number (nan)"),
        (fake_trials.outcome(math.inf), "quality is not a finite number (inf)"),
        (fake_trials.outcome(), "the trial measured no quality"),
        (fake_trials.outcome(reason="diverged"), "diverged"),
    ],
)
def test_a_result_that_cannot_be_compared_is_a_failed_trial(measured, reason, tmp_path):
    asktell = make(tmp_path)
    trial = asktell.ask().trial
    assert asktell.report(trial, fake_trials.said(1, loss=2.0)) is None
    row = asktell.tell(trial, measured)
    assert (row.status, row.reason) == ("failed", reason)
    assert asktell.store.read_rows("trials")[0]["reason"] == reason
    assert asktell.store.read_rows("reports")[0]["loss"] == 2.0
    assert len(run(make(tmp_path))) == 11  # a failed trial is spent


def test_a_student_in_two_precisions_is_two_rows_and_one_trial(tmp_path):
    def small(config):
        return {**toy.costs(config), "latency_p50_ms": 0.5 * toy.costs(config)["latency_p50_ms"]}

    def both(config):
        quality = fake_trials.formula(config)
        variant = Variant("int8", fake_trials.scored(quality - 0.01), {})
        return TrialOutcome(scores=fake_trials.scored(quality), variants=(variant,), student_path="students/x")

    more = {"objectives": ["quality", "latency_ms"], "precision": "fp32", "variants": {"int8": small}, "budget": 3}
    asktell = make(tmp_path, "random", **more)
    ask = asktell.ask()
    lost = asktell.store.write_trial
    asktell.store.write_trial = lambda row: lost(row) if row.status == "variant" else None
    asktell.tell(ask.trial, both(ask.config))  # the driver dies before the row of the trial is written
    asktell = make(tmp_path, "random", **more)
    assert asktell.ask().trial == ask.trial
    asktell.tell(ask.trial, both(ask.config))
    while (ask := asktell.ask()) is not None:
        asktell.tell(ask.trial, both(ask.config))
    rows = {row.trial: row for row in asktell.store.read_trials()}
    assert asktell.spent == 3 and [rows[trial].status for trial in sorted(rows)] == ["finished", "variant"] * 3
    for variant in (row for row in rows.values() if row.status == "variant"):
        own = rows[variant.of_trial]
        assert (own.precision, variant.precision, variant.config) == ("fp32", "int8", own.config)
        assert variant.costs["latency_p50_ms"] == 0.5 * own.costs["latency_p50_ms"]
        assert variant.quality == own.quality - 0.01 and variant.student_path == own.student_path
    members = front_of(list(rows.values()), asktell.aim)
    assert {row.precision for row in members} == {"fp32", "int8"}
    again = make(tmp_path, "random", **{**more, "budget": 4})
    assert again.spent == 3 and {row.precision for row in again.memory.rows()} == {"fp32"}
    assert again.ask().trial == 6
    grown, anew = asktell.memory, again.memory
    assert grown.front_MK.tolist() == anew.front_MK.tolist() and len(anew.front_MK) == len(members)
    assert set(anew.front_trials) == {row.owner for row in members}


@pytest.mark.parametrize("schedule", ["halving", "freeze_thaw"])
def test_the_search_counts_all_precisions_of_a_student(schedule, tmp_path):
    def small(config):
        return {**toy.costs(config), "latency_p50_ms": 0.3 * toy.costs(config)["latency_p50_ms"]}

    def trained(config):
        variant = Variant("int8", fake_trials.scored(fake_trials.formula(config) - 0.01), {})
        return TrialOutcome(scores=fake_trials.scored(fake_trials.formula(config)), variants=(variant,))

    more = {"objectives": ["quality", "latency_ms"], "precision": "fp32", "variants": {"int8": small}}
    own = {"candidates": 8, "schedule": schedule, "rung_tokens": (1,) if schedule == "freeze_thaw" else ()}
    asktell = make(tmp_path, **more, **own, train_tokens=1000)
    for _ in range(6):
        ask = asktell.ask()
        asktell.tell(ask.trial, trained(ask.config))
    evidence = asktell.memory.evidence([], 5)
    rows = asktell.store.read_trials()
    assert len(evidence.front) == len(front_of(rows, asktell.aim))
    (beside,) = evidence.beside
    assert beside.shift == pytest.approx(-0.01)
    assert beside.known(ask.config) == [None, small(ask.config)["latency_p50_ms"]]
    assert {row.precision for row in rows if [row.quality, row.costs["latency_p50_ms"]] in evidence.front} >= {"int8"}
    assert asktell.ask() is not None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_used_up_space_ends_the_search_with_duplicates(sampler, tmp_path):
    asktell = make(tmp_path, sampler, TINY, budget=100)
    configs = run(asktell)
    assert len(configs) == 3 == len({config_hash(c, 5) for c in configs})
    assert "had all been tried" in asktell.tally.ended
    rows = {row["trial"]: row for row in asktell.store.read_rows("trials")}
    repeats = [row for row in rows.values() if row["status"] == "duplicate"]
    assert repeats
    for row in repeats:
        original = rows[row["of_trial"]]
        assert original["status"] == "finished"
        assert (row["config_hash"], row["quality"]) == (original["config_hash"], original["quality"])
    assert run(make(tmp_path, sampler, TINY, budget=100)) == []


def test_a_grid_visits_everything_once(tmp_path):
    asktell = make(tmp_path, "grid", LISTS, budget=1000)
    everything = list(asktell.searched.space.enumerate())
    configs = run(asktell, most=5) + run(make(tmp_path, "grid", LISTS, budget=1000))
    assert sorted(map(repr, configs)) == sorted(map(repr, everything))
    assert configs != everything  # shuffled
    assert asktell.tally.count("duplicate") == 0


def test_a_running_configuration_is_not_asked_again(tmp_path):
    asktell = make(tmp_path, "random", TINY)
    asks = [asktell.ask() for _ in range(3)]
    assert len({ask.config_hash for ask in asks}) == 3
    assert asktell.ask() is None and not asktell.tally.ended
    asktell.tell(asks[0].trial, measure(asks[0].config))
    assert asktell.ask() is None


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "grid"])
def test_limits_on_known_costs_are_kept_before_anything_runs(sampler, tmp_path):
    asktell = make(tmp_path, sampler, LISTS, limits={"parameters": 3_000_000, "latency_ms": 6.0})
    for config in run(asktell):
        costs = toy.costs(config)
        assert costs["parameters"] <= 3_000_000 and costs["latency_p50_ms"] <= 6.0
    infeasible = [row for row in asktell.store.read_rows("trials") if row["status"] == "infeasible"]
    assert infeasible and all("is above the limit of" in row["reason"] for row in infeasible)
    assert len({row["config_hash"] for row in infeasible}) == len(infeasible)


def test_nothing_within_the_limits(tmp_path):
    asktell = make(tmp_path, "random", LISTS, limits={"parameters": 1000})
    assert asktell.ask() is None
    assert "is above the limit of 1,000" in asktell.tally.ended


def test_a_limit_that_only_the_trial_can_know(tmp_path):
    searched = toy.searched(LISTS, limits={"latency_ms": 6.0})
    asktell = AskTell(
        Store(tmp_path, ["toy"]), replace(searched, costs=lambda c: {**toy.costs(c), "latency_p50_ms": None})
    )
    ask = asktell.ask()
    row = asktell.tell(ask.trial, replace(measure(ask.config), costs={"latency_p50_ms": 50.0}))
    assert row.status == "finished"
    (told,) = asktell.memory.told()
    assert told.constraints == {"latency_ms": pytest.approx(44 / 6)}


def test_tpe_finds_better_fronts_than_random(tmp_path):
    def best(sampler, seed):
        asktell = make(tmp_path / f"{sampler}{seed}", sampler, toy.SPEC, budget=30, seed=seed, objectives=["quality"])
        run(asktell)
        return max(row.quality for row in asktell.tally.rows if row.status == "finished")

    assert sum(best("tpe", s) for s in range(3)) > sum(best("random", s) for s in range(3))


def test_every_branch_is_tried_before_the_model_takes_over(tmp_path):
    text = toy.SPEC.replace('["hs", "mha"]', '["hs", "mha", "mha_direct"]')
    _, space = toy.read(text)
    wanted = branches(space)
    assert len(wanted) == 2 + len(space.axes["mapping"].choices)
    asktell = make(tmp_path, text=text, seed=1, budget=4 * len(wanted))
    tried = set()
    for _ in wanted:
        ask = asktell.ask()
        tried.add((ask.config["method"], ask.config.get("mapping")))
        asktell.tell(ask.trial, fake_trials.outcome(0.5))
    assert {method for method, _ in tried} == {"hs", "mha", "mha_direct"}
    assert len(tried) == len(wanted)
