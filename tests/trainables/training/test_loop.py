"""The training loop: it learns, resumes bit for bit, does not depend on workers, and says when it fails."""

import copy
import json
import math
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from small_trials import EXACT, FEW, METHODS, SHAPE, STEP, run

from spaces.errors import TrialFailed
from spaces.values import from_json
from trainables.losses.loss import Batch
from trainables.models.signals import read_signals
from trainables.models.student import build_student
from trainables.tasks.scores import Scores, StudentScore
from trainables.training import distillation
from trainables.training.checkpoint import CheckpointFile, Progress, load_checkpoint, save_checkpoint
from trainables.training.distillation import Distillation
from trainables.training.loop import advanced, build_optimizer, distil, shards
from trainables.training.readings import read_batch
from trainables.training.settings import TrainingRun, Worker
from trainables.training.stages import schedule

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns(teacher, corpus, name):
    _, rows, outcome = run(METHODS[name], teacher, corpus, steps=40)
    assert outcome.loss_first == rows[0].loss
    assert outcome.loss_last == rows[-1].loss < 0.97 * rows[0].loss
    assert 0 < outcome.held_out_loss < rows[0].loss
    assert [row.step for row in rows] == list(range(2, 41, 2))
    assert outcome.steps == 40
    assert rows[-1].train_tokens == outcome.train_tokens == 40 * STEP
    assert all(row.tokens_per_s > 0 and row.gradient_norm > 0 for row in rows)


@pytest.mark.parametrize("name", ["od", "hs", "mha", "mha_direct"])
def test_a_copy_of_the_teacher_has_nothing_to_learn(teacher, corpus, name):
    same = dict(zip(SHAPE, (4, 32, 4, 64), strict=True))
    config = {**METHODS[name], **same, "initialisation": "teacher_layers"} | (
        {"mapping": "uniform"} if name == "hs" else {"teacher_layer": 4}
    )
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, EXACT)
    with torch.no_grad():
        for projection in module.projections.values():
            projection.copy_(torch.eye(32))
    reading = module.read(corpus, "train", FEW, np.zeros_like(FEW), EXACT, None)
    assert module(teacher.model, reading).item() == 0.0
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter += 0.05
    assert module(teacher.model, reading).item() > 0.0


def test_hidden_projections_start_in_the_basis_of_the_student(teacher, corpus):
    config = METHODS["hs"]
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, EXACT)
    ours = module.student.base_model.embeddings.word_embeddings.weight
    theirs = teacher.model.base_model.embeddings.word_embeddings.weight
    back = module.projections["hidden_1_2"]
    torch.testing.assert_close(back @ back.T, torch.eye(24))
    torch.testing.assert_close(theirs @ back.T, ours)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("name", ["sum", "mha"])
def test_an_interrupted_trial_ends_in_the_same_bits(teacher, corpus, tmp_path, name):
    straight, rows, outcome = run(METHODS[name], teacher, corpus)
    checkpoint = tmp_path / "trial" / "checkpoint.safetensors"

    def interrupt(row):
        if row.step == 6:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(METHODS[name], teacher, corpus, checkpoint=checkpoint, report=interrupt)
    resumed, later, again = run(METHODS[name], teacher, corpus, checkpoint=checkpoint)
    assert [row.step for row in later] == [6, 7, 8, 9, 10]  # what nobody may have heard is said again
    exact = ("step", "train_tokens", "loss", "learning_rate", "gradient_norm")
    assert [[getattr(row, key) for key in exact] for row in later] == [
        [getattr(row, key) for key in exact] for row in rows[5:]
    ]
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert replace(again, train_s=0, teacher_s=0) == replace(outcome, train_s=0, teacher_s=0)
    # Once more, from the checkpoint of the last step: nothing is left to train, the outcome is the same.
    finished, said, once_more = run(METHODS[name], teacher, corpus, checkpoint=checkpoint)
    assert said == later[-1:]
    assert replace(once_more, train_s=0, teacher_s=0) == replace(again, train_s=0, teacher_s=0)
    assert once_more.train_s > 0
    assert all(torch.equal(value, finished.state_dict()[key]) for key, value in straight.state_dict().items())


def test_a_rung_is_one_more_report_with_a_score_and_leaves_a_checkpoint(teacher, corpus, tmp_path):
    config = METHODS["hs"]
    straight, plain, _ = run(config, teacher, corpus, steps=40)
    rows, scored = [], []
    student = build_student(config, teacher, 0, corpus)
    checkpoint = tmp_path / "trial" / "checkpoint.safetensors"

    def score(model):
        scored.append(model)
        return Scores(0.25, {"toy": StudentScore(0.7, 0.25, 1, "accuracy", "probe")})

    def stop(row):
        rows.append(row)
        if row.scores is not None:  # who stops it here may promote it at once
            with safe_open(checkpoint, framework="pt") as file:
                assert from_json(Progress, file.metadata()["progress"]).report == row
        if row.step == 8:
            raise Interrupted

    training = replace(EXACT, checkpoint_every_s=1e9)
    course = TrainingRun(config, 40 * STEP, 0, training, rungs=(5 * STEP - 1, 40 * STEP))
    options = {"score": score, "checkpoint": CheckpointFile(checkpoint)}
    with pytest.raises(Interrupted):
        distil(student, teacher, corpus, course, stop, **options)
    assert [row.step for row in rows] == [2, 4, 5, 6, 8] and scored == [student]
    assert [row.step for row in rows if row.scores] == [5]
    again, later = build_student(config, teacher, 0, corpus), []
    distil(again, teacher, corpus, course, later.append, **options)
    assert later[0] == rows[2] and later[1].step == 6 and len(scored) == 1  # from the rung on
    assert [row.step for row in plain][-1] == later[-1].step == 40
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in straight.state_dict().items())


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\x00" * 100])
def test_a_truncated_checkpoint_is_set_aside(teacher, corpus, tmp_path, spoil):
    checkpoint = tmp_path / "checkpoint.safetensors"
    _, _, outcome = run(METHODS["hs"], teacher, corpus, steps=4, checkpoint=checkpoint)
    checkpoint.write_bytes(spoil(checkpoint.read_bytes()))
    _, rows, again = run(METHODS["hs"], teacher, corpus, steps=4, checkpoint=checkpoint)
    assert [row.step for row in rows] == [1, 2, 3, 4]
    assert again.loss_last == outcome.loss_last
    assert (tmp_path / "checkpoint.safetensors.unreadable").is_file()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_checkpoint_holds_everything(teacher, corpus, tmp_path):
    config = METHODS["sum"]
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, EXACT)
    optimizer = build_optimizer(module, 1e-3, EXACT)
    module(teacher.model, module.read(corpus, "train", FEW, np.zeros_like(FEW), EXACT, None)).backward()
    optimizer.step()
    progress = Progress(7, 1.5, 2.0, 0.5, 0.75)
    save_checkpoint(tmp_path / "c", module, optimizer, progress)
    other = Distillation(build_student(config, teacher, 1, corpus), teacher, corpus, config, EXACT)
    fresh = build_optimizer(other, 1e-3, EXACT)
    assert load_checkpoint(tmp_path / "c", other, fresh) == progress
    ours, theirs = dict(other.named_parameters()), dict(module.named_parameters())
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("projections") for name in ours)
    for name in ours:
        assert torch.equal(ours[name], theirs[name])
        assert fresh.state[ours[name]].keys() == optimizer.state[theirs[name]].keys()
        for key, value in optimizer.state[theirs[name]].items():
            assert torch.equal(fresh.state[ours[name]][key], value)


def test_epochs_take_turns_at_the_masks(teacher, corpus, monkeypatch):
    few, seen = replace(corpus, train=corpus.train[:8]), []

    def recording(corpus, split, blocks, views, fraction):
        if split == "train":
            seen.append(dict(zip(blocks.tolist(), views.tolist(), strict=True)))
        return read_batch(corpus, split, blocks, views, fraction)

    monkeypatch.setattr(distillation, "read_batch", recording)
    run(METHODS["od"], teacher, few, steps=5, training=replace(EXACT, mask_views=3))
    assert [set(step.values()) for step in seen] == [{0}, {1}, {2}, {0}, {1}]
    assert all(step.keys() == set(range(8)) for step in seen)


def test_gradient_accumulation_changes_nothing(teacher, corpus):
    whole = run(METHODS["sum"], teacher, corpus, steps=5)[1]
    parts = run(METHODS["sum"], teacher, corpus, steps=5, training=replace(EXACT, gradient_accumulation=2))[1]
    for one, two in zip(whole, parts, strict=True):
        assert two.loss == pytest.approx(one.loss, rel=1e-5)
        assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)


def test_two_workers_see_the_curve_of_one(teacher, write_teacher, corpus, corpus_folder, tmp_path, monkeypatch):
    configs = {name: METHODS[name] for name in ("hs", "mha", "sum")}
    configs["stages"] = METHODS["sum"] | {"method": "hs for 0.2 then od unfreezing", "mapping": "last"}
    training = {"precision": "fp32", "teacher_precision": "fp32"}
    jobs = {"teacher": str(write_teacher("bert")), "corpus": str(corpus_folder), "configs": configs,
            "tokens": 5 * STEP, "training": training}  # fmt: skip
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    script = Path(__file__).with_name("two_workers.py")
    other = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), "1", "2"], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        runpy.run_path(str(script))["main"](tmp_path, 0, 2)
        assert other.wait(timeout=60) == 0
    finally:
        other.kill()
    curves = json.loads((tmp_path / "curves.json").read_text())
    for name, config in configs.items():
        _, rows, outcome = run(config, teacher, corpus, steps=5)
        alone = [[row.loss, row.gradient_norm] for row in rows] + [[outcome.held_out_loss, 0.0]]
        torch.testing.assert_close(torch.tensor(curves[name]), torch.tensor(alone), atol=1e-5, rtol=1e-5, msg=name)


def test_a_loss_that_is_not_finite_fails_the_trial(teacher, corpus):
    broken = replace(teacher, model=copy.deepcopy(teacher.model))
    with torch.no_grad():
        broken.model.base_model.embeddings.word_embeddings.weight[40:] = math.nan
    with pytest.raises(TrialFailed, match="the loss became nan by step 1"):
        distil(build_student(METHODS["mha"] | {"initialisation": "random"}, teacher, 0), broken, corpus,
               TrainingRun(METHODS["mha"], STEP, 0, EXACT), print)  # fmt: skip


def test_a_diverging_trial_fails(teacher, corpus):
    with pytest.raises(TrialFailed, match=r"diverged: loss .* \(learning_rate 300\)"):
        run({**METHODS["mlm"], "learning_rate": 300.0}, teacher, corpus, steps=20)


def test_a_copy_of_the_teacher_that_moves_has_not_diverged(teacher, corpus):
    """Its loss is next to nothing, and many times that once Adam has moved it; what it would cost to know nothing is
    the measure, and above that it has diverged all the same."""
    same = dict(zip(SHAPE, (4, 32, 4, 64), strict=True))
    config = {**METHODS["hs"], **same, "initialisation": "teacher_layers", "mapping": "uniform", "learning_rate": 1e-2}
    _, rows, outcome = run(config, teacher, corpus, steps=40)
    losses = [row.loss for row in rows]
    highest = max(losses)
    assert highest > 4 * losses[0] and highest > 4 * min(losses[: losses.index(highest)]) and outcome.steps == 40
    with pytest.raises(TrialFailed, match="diverged"):
        run({**config, "learning_rate": 30.0}, teacher, corpus, steps=40)


@pytest.mark.parametrize("name", METHODS)
def test_what_it_costs_to_know_nothing_is_the_loss_against_other_texts(teacher, corpus, name):
    """Each text by itself, the student's signals taken from one and the teacher's from another."""
    config = METHODS[name]
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, EXACT)
    reading = module.read(corpus, "train", FEW, np.zeros_like(FEW), EXACT, None)
    losses = module.stages[0]
    rows = len(FEW)
    alone = []
    for row in range(rows):
        theirs, ours = (reading_of(reading, place) for place in (row, rows - 1 - row))
        with torch.no_grad():
            told = read_signals(teacher.model, losses.teacher_signals, theirs.inputs_BT, None, theirs.positions_BT)
            said = read_signals(module.student, losses.student_signals, ours.inputs_BT, None, ours.positions_BT)
            labels_N = None if theirs.positions_BT is None else theirs.words_BT[theirs.positions_BT]
            batch = Batch(None, labels_N, module.squares)
            alone.append(sum(weight * module.value(loss, said, told, batch).item() for loss, weight in losses.terms))
    found = distillation.loss_of_swapped(module, teacher.model, [reading], Worker(0, 1))
    assert found == pytest.approx(np.mean(alone), rel=1e-4)


def reading_of(reading, row):
    """One of its rows."""
    of_row = {
        name: None if getattr(reading, name) is None else getattr(reading, name)[row : row + 1]
        for name in ("inputs_BT", "words_BT", "positions_BT")
    }
    return replace(reading, **of_row)


def test_divergence_is_measured_from_the_lowest_loss():
    progress = advanced(Progress(), 1, 0.0, 2.0, 1e-3)
    progress = advanced(progress, 2, 0.0, 1.0, 1e-3)
    assert progress == Progress(2, 0.0, 2.0, 1.0, 1.0)
    assert advanced(progress, 3, 0.0, 3.9, 1e-3).lowest == 1.0
    with pytest.raises(TrialFailed, match="after a low of 1"):
        advanced(progress, 3, 0.0, 4.1, 1e-3)
    advanced(Progress(2, 0.0, 9.0, 1.0, 1.0), 3, 0.0, 8.0, 1e-3)  # still below where it began


def test_a_batch_that_does_not_split_fails_with_the_numbers(teacher, corpus):
    with pytest.raises(TrialFailed, match="batch_size 8 cannot be split evenly over 1 workers x 3"):
        run(METHODS["hs"], teacher, corpus, training=replace(EXACT, gradient_accumulation=3))


def test_shards_cover_the_batch_once():
    rows = [row for rank in range(3) for share in shards(24, Worker(rank, 3), 2) for row in range(24)[share]]
    assert sorted(rows) == list(range(24))


def test_schedule_warms_up_and_decays():
    factors = [schedule(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == max(factors) == 1.0
    assert factors[-1] == pytest.approx(1 / 90)
    assert all(0 < schedule(step, total, f) <= 1 for total in (1, 2, 3) for step in range(total) for f in (0, 0.1, 1))


@pytest.mark.parametrize("name", METHODS)
def test_bf16_students_train(teacher, corpus, name):
    training = replace(EXACT, precision="bf16", teacher_precision="bf16")
    half = run(METHODS[name], teacher, corpus, steps=2, training=training)[1]
    full = run(METHODS[name], teacher, corpus, steps=2)[1]
    assert half[0].loss == pytest.approx(full[0].loss, rel=0.1)


def test_biases_and_norms_do_not_decay(teacher, corpus):
    module = Distillation(build_student(METHODS["hs"], teacher, 0, corpus), teacher, corpus, METHODS["hs"], EXACT)
    decayed, kept = build_optimizer(module, 1e-3, EXACT).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.01, 0.0)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert all("bias" in names[id(p)] or "LayerNorm" in names[id(p)] for p in kept["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(names)


def test_the_held_out_loss_does_not_depend_on_the_batch_size(teacher, corpus):
    """What two trials of different batch size are compared by: same blocks, same masks."""
    still = {**METHODS["mlm"], "learning_rate": 0.0}
    losses = [run({**still, "batch_size": size}, teacher, corpus, steps=1)[2].held_out_loss for size in (4, 8)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_each_pair_of_layers_learns_its_own_projection(teacher, corpus):
    config = METHODS["sum"]
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, EXACT)
    places = {value.data_ptr() for value in module.projections.values()}
    assert len(places) == len(module.projections) == 2
