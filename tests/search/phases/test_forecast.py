"""What `check` says of a study that has not begun: sizes, hours, traps."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from search.phases import forecast
from search.phases.description import describe
from search.phases.forecast import (
    arithmetic_text,
    count_configurations,
    disk_gb,
    hours,
    hours_text,
    seconds_of_tests,
    shape_lines,
    starts_scored,
    tokens_read,
    traps,
)
from search.spec.checks import check_all
from spaces.records.data import CorpusFacts, DataFacts, TaskFacts
from spaces.students.architecture import flops_per_token

LISTED = "learning_rate = [0.001]\nmapping = ['uniform']\n"


def study(text=toy.SPEC):
    return check_all(tomllib.loads(text), Path("/nowhere"), "toy.toml", toy.facts)


def test_configurations_and_shapes_are_counted():
    whole = study()
    assert count_configurations(whole.space) is None
    small = study(toy.SPEC.replace('"hs", "mha"', '"hs"').replace("ffn_ratio", LISTED + "ffn_ratio"))
    assert count_configurations(small.space) == len(list(small.space.enumerate())) > 8
    (line,) = shape_lines(whole)
    assert line.startswith("9 shapes, parameters and share of the teacher's 11.2 M: 2x96") and "1 more" in line
    assert 8 * 1e5 * 4 / 1e9 < disk_gb(whole) < 8 * 1e7 * 4 / 1e9


def test_hours_follow_the_budget():
    data = DataFacts(
        CorpusFacts(tokens=10**6), {"toy": TaskFacts(rows={"train": 1000, "dev": 100, "test": 10**9}, row_tokens=20)}
    )
    one, ten = (hours(study(toy.SPEC.replace("300_000", each)), data, 5e10) for each in ("300_000", "3_000_000"))
    assert ten["training"] == pytest.approx(10 * one["training"])
    assert 0 < one["scores of students"] == ten["scores of students"] < 1  # the test split is not read
    assert ten["what the teacher says"] < 10 * one["what the teacher says"]  # a text is read once
    scored = study(toy.SPEC.replace("starts = false", "starts = true"))
    assert starts_scored(scored) == len(scored.space.starts()) > 0 == starts_scored(study())
    fine = study(toy.SPEC.replace("starts", 'protocol = "finetune"\nfinetune_learning_rates = [1e-5, 1e-4]\nstarts'))
    rows = 1000 * 10 * 3 * forecast.BACKWARD + 100  # 10 passes are 630 steps; two rates are tried, and one is taken
    read = {name: tokens_read(each.spec, data, ("train", "dev")) for name, each in (("fine", fine), ("probe", study()))}
    assert read == {"fine": rows * 20, "probe": 1100 * 20}
    assert tokens_read(fine.spec, data, ("test",)) == (1000 * 10 * 3 * forecast.BACKWARD + 10**9) * 20  # fitted again
    assert hours_text(one).startswith("about ") and "training" in hours_text(one)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_speed_is_that_of_the_arithmetic_of_the_study(precision):
    spec = study().spec
    asked = replace(spec, evaluation=replace(spec.evaluation, precision=precision))
    assert forecast.flops_per_s(asked) > 1e7
    assert arithmetic_text(replace(asked, training=replace(spec.training, precision="fp32"))) == (
        "steps and probes in fp32" if precision == "fp32" else "steps in fp32, probes in bf16"
    )


def test_auto_is_told_as_what_this_machine_has(monkeypatch):
    for has_it, expected in ((True, "steps and probes in bf16 from width 96 on"), (False, "steps and probes in fp32")):
        monkeypatch.setattr(forecast, "multiplies_bf16", lambda has_it=has_it: has_it)
        assert arithmetic_text(study().spec) == expected


def test_the_test_splits_take_what_their_tokens_cost(monkeypatch):
    monkeypatch.setattr(forecast, "flops_per_s", lambda spec: 1e10)
    spec, facts = study().spec, study().teacher
    data = DataFacts(CorpusFacts(), {"toy": TaskFacts(rows={"train": 9, "dev": 9, "test": 100, "documents": 50})})
    data = replace(data, tasks={"toy": replace(data.tasks["toy"], row_tokens=20)})
    shape = facts.architecture
    one_s = 150 * 20 * flops_per_token(shape, facts, spec.corpus.sequence_length) / 1e10
    assert seconds_of_tests(spec, data, facts, [shape, shape]) == pytest.approx(2 * one_s)
    assert seconds_of_tests(spec, None, facts, [shape]) == 0.0  # nobody knows
    on_gpus = replace(spec, cluster=replace(spec.cluster, gpus_per_worker=0.5))
    assert seconds_of_tests(on_gpus, data, facts, [shape]) == 0.0


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("train_tokens = 300_000", "train_tokens = 20_000", "19 steps of 1,024 tokens: from 102,400 on"),
        ("ffn_ratio", "initialisation = ['random']\nffn_ratio", "'random' with 300,000 tokens"),
        ("trials = 8", "trials = 400", "400 trials, but the space has"),
        ('"docs"', '"hub:owner/name"', "hub:owner/name@REVISION stays the same"),
    ],
)
def test_traps(old, new, wanted):
    text = toy.SPEC.replace("ffn_ratio", LISTED + "ffn_ratio").replace('"hs", "mha"', '"hs"')
    assert not list(traps(study(text)))
    (line,) = traps(study(text.replace(old, new, 1)))
    assert wanted in line


def test_steps_of_single_texts_are_counted_by_their_length():
    text = toy.SPEC.replace("sequence_length = 64", 'sequence_length = 64\ntexts = "single"')
    assert not list(traps(study(text)))  # as long as nobody knows
    assert not list(traps(study(text), row_tokens=29.5))
    (line,) = traps(study(text.replace("300_000", "16_000")), row_tokens=29.5)
    assert "are 33 steps of 472 tokens: from 47,200 on" in line


def test_everything_is_text_for_people():
    lines = describe(study(), DataFacts(CorpusFacts()))
    assert not any("[" in line or "{" in line for line in lines if not line.startswith("warning"))
    assert any("learning rate 0.0003 to 0.003 (log)" in line for line in lines)
