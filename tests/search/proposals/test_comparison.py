"""A comparison as the search runs it: rates first, then every configuration seed by seed, also after a stop."""

import json
from dataclasses import replace

import fake_trials
import pytest
import toy

from search.proposals.comparison import chosen_rates, comparison
from search.store.parts import Store
from search.tune.tuning import ask_tell, job_maker
from spaces.errors import SpecError
from spaces.space.comparison import kind_of, tuning_configs, tuning_seed
from trainables.lanes.messages import TrialOutcome
from trainables.tasks.scores import Reference

SPEC = (
    toy.SPEC.replace("[space]", "[comparison]\nseeds = 2\n[space]")
    .replace("num_layers = [2, 3, 4]", "num_layers = [2, 3]\nlearning_rate = [1e-3, 3e-3]\nmapping = ['uniform']")
    .replace("hidden_size = [96, 192, 384]", "hidden_size = [96]\nrelation_heads = [12]\nteacher_layer = [5, 6]")
    .replace("ffn_ratio", "initialisation = ['random']\nbatch_size = [16]\nffn_ratio")
)


def start(folder, said):
    plan = toy.plan(SPEC)
    asktell = ask_tell(plan, Store(folder, ["toy"]), said.append)
    asktell.narrow(comparison(plan.study.spec, plan.study.space, said.append))
    return plan, asktell


def quality(config):
    """hs likes the high rate, mha the low one."""
    return 0.5 + (100 if config["method"] == "hs" else -100) * config["learning_rate"]


def run(asktell, most=1000):
    ran = []
    while len(ran) < most and (ask := asktell.ask()) is not None:
        ran.append(ask)
        scores = fake_trials.scored(quality(ask.config))
        asktell.tell(ask.trial, TrialOutcome(scores=scores, test_scores=scores.tasks))
    return ran


def test_the_best_rate_is_chosen_under_the_tuning_seed_only():
    _, space = toy.read(SPEC)
    configs = tuning_configs(space, None)
    tuned = [toy.row(trial=0, seed=tuning_seed(0), quality=quality(config), **config) for config in configs]
    rows = [each for each in tuned if each.config["method"] == "hs"]
    rows += [replace(each, quality=9.0, seed=0) for each in tuned]
    rows += [replace(each, quality=9.0, status="failed") for each in tuned]
    assert chosen_rates(rows, space, 0) == {("hs", "random"): 3e-3, ("mha", "random"): 1e-3}  # none of mha: the lowest
    assert chosen_rates([replace(each, quality=-each.quality) for each in tuned], space, 0) == {
        ("hs", "random"): 1e-3, ("mha", "random"): 3e-3
    }  # fmt: skip
    assert set(chosen_rates([], space, 0).values()) == {1e-3}


def test_rates_first_then_every_configuration_with_every_seed(tmp_path):
    said = []
    plan, asktell = start(tmp_path, said)
    assert plan.study.spec.search.sampler == "grid" and plan.study.spec.budget.trials == asktell.left == 4 + 12
    ran = run(asktell)
    assert [ask.seed for ask in ran] == [1005] * 4 + [5] * 6 + [6] * 6
    assert asktell.tally.ended == "every wanted trial has run" and asktell.left == 0
    rates = {kind_of(ask.config): ask.config["learning_rate"] for ask in ran[4:]}
    assert rates == {("hs", "random"): 3e-3, ("mha", "random"): 1e-3}
    assert len({ask.config_hash for ask in ran}) == 16
    assert said == ["learning rates chosen under seed 1005: hs (random) 0.003, mha (random) 0.001"]
    assert len(asktell.store.read_rows("test_scores")) == 16


@pytest.mark.parametrize("stop", [2, 4, 9])
def test_a_stopped_comparison_goes_on(tmp_path, stop):
    first = run(start(tmp_path, [])[1], stop)
    _, asktell = start(tmp_path, [])
    left_behind = asktell.ask()  # asked, and then the driver dies
    _, asktell = start(tmp_path, [])
    rest = run(asktell)
    assert rest[0].trial == left_behind.trial
    assert len(first) + len(rest) == 16 == len({ask.config_hash for ask in [*first, *rest]})


def test_what_is_chosen_by_never_knows_the_test_splits(tmp_path):
    plan, asktell = start(tmp_path, [])
    plan = replace(plan, job=replace(plan.job, test_floors={"toy": Reference(1.0, 0.0)}))
    make = job_maker(plan, asktell.history, lambda trial: None)
    jobs = [make(ask) for ask in run(asktell)]
    assert [bool(job.test_floors) for job in jobs] == [job.seed != 1005 for job in jobs]


def test_a_comparison_refuses_what_it_cannot_do():
    with pytest.raises(SpecError) as refused:
        toy.read(
            SPEC.replace("[1e-3, 3e-3]", "{ low = 1e-3, high = 3e-3 }")
            .replace("seeds = 2", "seeds = 2\ntune_shape = '9x96'\n[rungs]\nfirst_tokens = 1000")
            .replace("[cluster]", "[search]\nconstraints = { parameters = 1e6 }\n[cluster]")
        )
    text = str(refused.value)
    assert "[comparison]: [space] learning_rate: a grid needs a list of values" in text
    assert "leave [rungs] first_tokens out" in text and "leave [search] constraints out" in text
    assert "tune_shape '9x96' is no shape of the space. Known: 2x96, 3x96" in text
    assert json.dumps(text)
