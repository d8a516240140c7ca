"""Stages of a run: against single methods step by step, what stays frozen, resume in each, the cache, a supplement."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_trials import COMMON, EXACT, STEP, fill, run

from spaces.errors import TrialFailed
from trainables.models.encoder import layers
from trainables.models.student import build_student
from trainables.text.corpus import batch_indices
from trainables.training.distillation import Distillation
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun
from trainables.training.stages import schedule, stage_at, stages_of_run, step_after

ALL = COMMON | {"mapping": "last", "relation_heads": 8, "teacher_layer": 4, "temperature": 2.0, "batch_size": 8}
RECIPE = ALL | {"method": "hs + mha on supplement for 0.3 then od unfreezing for 0.4 then mlm"}
"""20 steps: 6 on the supplement, then 8 and 6 on the corpus."""


@pytest.fixture
def both(corpus):
    """The corpus with a supplement of other text."""
    other = np.ascontiguousarray(corpus.train[::-1][:20])
    return replace(corpus, supplement=replace(corpus, train=other, digest="other"))


def course(method, corpus, steps=20, generation=0, **more):
    return stages_of_run(TrainingRun(ALL | {"method": method}, steps * STEP, 0, EXACT, (), generation), corpus)


def test_stages_share_the_steps_and_read_on(both):
    found = course(RECIPE["method"], both)
    assert [(each.before, each.steps, each.batch(each.before + 1)) for each in found] == [
        (0, 6, 0), (6, 8, 0), (14, 6, 8)
    ]  # fmt: skip
    assert found[0].corpus is both.supplement and found[1].corpus is both
    assert [each.tokens(each.last) for each in found] == [6 * STEP, 14 * STEP, 20 * STEP]
    assert [stage_at(found, step).number for step in (1, 6, 7, 14, 15, 20)] == [0, 0, 1, 1, 2, 2]
    assert [step_after(found, tokens) for tokens in (1, 6 * STEP, 6 * STEP + 1, 20 * STEP)] == [1, 6, 7, 20]
    # a run that goes on from another reads other text
    later = course(RECIPE["method"], both, generation=1)
    assert [each.batch(each.before + 1) for each in later] == [6, 14, 22]
    # of a text with longer rows fewer batches are as many tokens
    longer = replace(both, supplement=replace(both.supplement, train=np.repeat(both.train[:20], 2, axis=1)))
    assert [each.steps for each in course(RECIPE["method"], longer)] == [3, 8, 6]
    assert course(RECIPE["method"], longer)[0].tokens(3) == 6 * STEP


def test_a_method_without_stages_is_one(corpus):
    (only,) = course("hs", corpus, steps=7)
    assert (only.before, only.steps, only.tokens_per_step, only.opened(1, 2)) == (0, 7, STEP, None)


def test_what_cannot_be_run_is_said(both, corpus):
    with pytest.raises(TrialFailed, match="reads a supplement, and the corpus has none"):
        course(RECIPE["method"], corpus)
    with pytest.raises(TrialFailed, match=r"leave no step to the stage 'od' of .*; nearest: 12,800 tokens"):
        course("hs then od for 0.01", corpus, steps=20)


def test_each_stage_warms_up_and_decays_by_itself(both, teacher):
    _, rows, outcome = run(RECIPE, teacher, both, steps=20)
    factors = [schedule(step, count, 0.1) for count in (6, 8, 6) for step in range(count)]
    assert [row.step for row in rows] == list(range(1, 21))
    assert [row.learning_rate for row in rows] == pytest.approx([3e-3 * factor for factor in factors])
    assert [row.train_tokens for row in rows] == [step * STEP for step in range(1, 21)]
    assert (outcome.loss_first, outcome.loss_last) == (rows[14].loss, rows[-1].loss)  # those of the last stage


def test_the_loss_of_each_step_is_that_of_its_method_on_its_text(both, teacher):
    """Step by step: the student before it, under the method of its stage alone."""
    before = [build_student(RECIPE, teacher, 0, both).state_dict()]
    student = build_student(RECIPE, teacher, 0, both)
    before[0] = {name: value.clone() for name, value in student.state_dict().items()}
    rows = []

    def report(row):
        rows.append(row)
        before.append({name: value.clone() for name, value in student.state_dict().items()})

    distil(student, teacher, both, TrainingRun(RECIPE, 20 * STEP, 0, EXACT), report)
    for step, method, text, batch in (
        (1, "hs + mha", both.supplement, 0), (7, "od", both, 0), (14, "od", both, 7), (15, "mlm", both, 8),
        (20, "mlm", both, 13),
    ):  # fmt: skip
        alone = build_student(RECIPE, teacher, 0, both)
        alone.load_state_dict(before[step - 1])
        module = Distillation(alone, teacher, both, ALL | {"method": method}, EXACT)
        blocks, epochs = batch_indices(text, 8, batch, 0)
        reading = module.read(text, "train", blocks, epochs % EXACT.mask_views, EXACT, None)
        assert module(teacher.model, reading).item() == pytest.approx(rows[step - 1].loss, rel=1e-5), step


def test_what_is_frozen_does_not_change_by_a_bit(both, teacher):
    student = build_student(RECIPE, teacher, 0, both)
    states = []

    def parts():
        encoder = {id(parameter) for parameter in student.base_model.parameters()}
        names = {id(p): f"layer {n}" for n, layer in enumerate(layers(student), 1) for p in layer.parameters()}
        found = {}
        for name, parameter in student.named_parameters():
            part = names.get(id(parameter), "embeddings" if id(parameter) in encoder else "head")
            found.setdefault(part, {})[name] = parameter.detach().clone()
        return found

    distil(student, teacher, both, TrainingRun(RECIPE, 20 * STEP, 0, EXACT), lambda row: states.append(parts()))
    assert set(states[0]) == {"head", "layer 1", "layer 2", "embeddings"}

    def changed(step):
        now, then = states[step - 1], states[step - 2]
        return {part for part in now if any(not torch.equal(now[part][name], then[part][name]) for name in now[part])}

    encoder = {"layer 1", "layer 2", "embeddings"}
    assert [changed(step) for step in range(2, 7)] == [encoder] * 5  # no loss there reads the head
    assert [changed(step) for step in range(7, 15)] == [
        *[{"head"}] * 2, *[{"head", "layer 2"}] * 2, *[{"head", "layer 2", "layer 1"}] * 2,
        *[{"head", "layer 2", "layer 1", "embeddings"}] * 2,
    ]  # fmt: skip
    assert [changed(step) for step in range(15, 21)] == [encoder | {"head"}] * 6
    assert all(parameter.requires_grad for parameter in student.parameters())


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("step", [3, 6, 9, 14, 17], ids=["first", "its end", "second", "its end too", "third"])
def test_a_trial_that_is_interrupted_in_any_stage_ends_in_the_same_bits(both, teacher, tmp_path, step):
    straight, rows, outcome = run(RECIPE, teacher, both, steps=20)
    checkpoint = tmp_path / "checkpoint.safetensors"

    def interrupt(row):
        if row.step == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(RECIPE, teacher, both, steps=20, checkpoint=checkpoint, report=interrupt)
    resumed, later, again = run(RECIPE, teacher, both, steps=20, checkpoint=checkpoint)
    exact = ("step", "train_tokens", "loss", "learning_rate", "gradient_norm")
    assert [[getattr(row, key) for key in exact] for row in later] == [
        [getattr(row, key) for key in exact] for row in rows[step - 1 :]
    ]
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert replace(again, train_s=0, teacher_s=0) == replace(outcome, train_s=0, teacher_s=0)


def test_a_learned_map_goes_on_in_the_next_stage(corpus, teacher):
    config = ALL | {"method": "hs then od + hs"}
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, EXACT)
    assert list(module.projections) == ["hidden_2_4"]
    assert [len(stage.terms) for stage in module.stages] == [1, 2]
    assert [stage.masked_inputs for stage in module.stages] == [False, True]


def test_a_rise_of_the_loss_between_stages_is_no_divergence(corpus, teacher):
    _, rows, _ = run(ALL | {"method": "0.001 hs then 10 od"}, teacher, corpus, steps=20)
    assert rows[10].loss > 100 * rows[9].loss


def test_the_cache_serves_the_stages_on_the_corpus(plan, corpus, both, teacher):
    targets = fill(plan, teacher)
    for method, text, place in (
        ("hs then od unfreezing", corpus, "cache"), ("hs on supplement then od", both, "live"),
        ("mlm then mlm", corpus, "none"),
    ):  # fmt: skip
        config = ALL | {"method": method}
        _, rows, live = run(config, teacher, text)
        again, cached_rows = build_student(config, teacher, 0, text), []
        ten = TrainingRun(config, 10 * STEP, 0, EXACT)
        cached = distil(again, teacher, text, ten, cached_rows.append, targets=targets)
        assert cached.targets == place and live.targets == ("none" if place == "none" else "live")
        assert [row.loss for row in cached_rows] == pytest.approx([row.loss for row in rows], rel=1e-3)


def test_stages_of_mixed_texts(both, teacher):
    mixed = replace(EXACT, mixup=0.1)
    config = ALL | {"method": "mha on supplement then mha"}
    losses = [[row.loss for row in run(config, teacher, both, training=t)[1]] for t in (EXACT, mixed)]
    assert all(abs(one - two) > 1e-4 * one for one, two in zip(*losses, strict=True))


def test_methods_have_their_own_head_only_where_a_stage_trains_one(corpus, teacher):
    for method, head in (("hs then od", True), ("hs then mha", False)):
        student = build_student(ALL | {"method": method}, teacher, 0, corpus)
        assert (student.get_output_embeddings() is not None) == head
