"""The target cache: the same trial as with a live teacher, to the bits that are kept; whole shards or none."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_trials import EXACT, METHODS, STEP, fill, run

from trainables.models.signals import HIDDEN, LOGITS, MASKED, QKV, TOKENS, State, states_of
from trainables.models.student import build_student
from trainables.training.loop import distil
from trainables.training.readings import read_batch
from trainables.training.settings import TrainingRun
from trainables.training.target_shards import build_shard, is_whole, unfinished_shards
from trainables.training.targets import Needs, Part, needs_of, shard_path

TOLERANCE = {"float16": 1e-3, "bfloat16": 1e-2, "int8": 3e-2}
"""Relative, of a loss after ten steps."""
STATE = State(2, TOKENS)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("trainables.training.targets.SHARD_BYTES", 2**17)


@pytest.fixture(scope="module")
def live():
    """name, teacher, corpus -> the trial of a method with a live teacher; each is run once."""
    known = {}

    def trial(name, teacher, corpus):
        if name not in known:
            known[name] = run(METHODS[name], teacher, corpus)
        return known[name]

    return trial


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_trial_from_the_cache_has_the_curve_of_the_live_teacher(plan, teacher, corpus, small_shards, live, dtype):
    targets = fill(replace(plan, dtype=dtype), teacher)
    assert len(list(plan.folder.parent.rglob("*.safetensors"))) > len(plan.parts())
    for name, config in METHODS.items():
        student, rows, outcome = live(name, teacher, corpus)
        again, cached_rows = build_student(config, teacher, 0, corpus), []
        cached = distil(
            again, teacher, corpus, TrainingRun(config, 10 * STEP, 0, EXACT), cached_rows.append, targets=targets
        )
        assert cached.targets == ("none" if name == "mlm" else "cache")
        assert outcome.targets == ("none" if name == "mlm" else "live")
        ours, theirs = ([row.loss for row in each] for each in (cached_rows, rows))
        assert ours == pytest.approx(theirs, rel=TOLERANCE[dtype]), name
        assert cached.held_out_loss == pytest.approx(outcome.held_out_loss, rel=TOLERANCE[dtype]), name
        if name == "mlm":
            assert all(torch.equal(a, b) for a, b in zip(student.parameters(), again.parameters(), strict=True))


def test_the_rounding_error_is_told(plan, teacher, corpus):
    errors = {}
    for dtype in TOLERANCE:
        told = build_shard(replace(plan, dtype=dtype), Part("train"), 0, teacher)
        targets = fill(replace(plan, dtype=dtype, needs=Needs((STATE,))), teacher)
        rows = np.asarray(plan.blocks[:8])
        reading = read_batch(corpus, "train", rows, None, 0.15)
        kept = targets.read("train", (STATE,), rows, None, reading)[STATE]
        live = teacher.model(input_ids=reading.inputs_BT, output_hidden_states=True).hidden_states[2]
        errors[dtype] = ((kept - live).norm() / live.norm()).item()
        assert errors[dtype] == pytest.approx(told, rel=1.0)
    assert 0 < errors["float16"] < 5e-4 < errors["bfloat16"] < 4e-3 < errors["int8"] < 2e-2


def test_damaged_and_foreign_shards_are_written_again(plan, teacher, small_shards):
    fill(plan, teacher)
    assert not unfinished_shards(plan)
    shards = plan.shards()
    damaged, truncated, foreign, lost = (shard_path(plan.folder, *shards[i]) for i in (0, 1, 2, 3))
    data = bytearray(damaged.read_bytes())
    data[-5] ^= 1
    damaged.write_bytes(data)
    truncated.write_bytes(truncated.read_bytes()[:-100])
    shutil.copy(shard_path(plan.folder, *shards[4]), foreign)
    lost.unlink()
    assert unfinished_shards(plan) == shards[:4]
    fill(plan, teacher)
    assert not unfinished_shards(plan)
    assert not list(plan.folder.rglob("*.tmp"))


def test_a_shard_that_cannot_be_written_leaves_nothing(plan, teacher, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainables.training.target_shards.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        build_shard(plan, Part("train"), 0, teacher)
    assert not list(plan.folder.rglob("*.*"))
    assert not is_whole(plan, Part("train"), 0)


def test_the_key_changes_with_the_content_and_not_with_the_place(plan):
    others = [
        replace(plan, teacher_digest="x"), replace(plan, needs=Needs((STATE,))), replace(plan, blocks=plan.blocks[1:]),
        replace(plan, mask_fraction=0.2), replace(plan, dtype="int8"), replace(plan, bf16=True),
        replace(plan, views=2), replace(plan, corpus="/elsewhere/other"),
    ]  # fmt: skip
    assert len({plan.key, *(other.key for other in others)}) == len(others) + 1
    assert replace(plan, teacher="/moved/teacher", corpus=plan.corpus.replace("cache", "elsewhere")).key == plan.key
    many, fewer = (replace(plan, blocks=tuple(blocks)) for blocks in (range(4000), [*range(1999), *range(2001, 4000)]))
    assert many.key != fewer.key  # the same first and last ones


def test_the_bytes_are_those_of_the_files(plan, teacher):
    fill(plan, teacher)
    written = sum(path.stat().st_size for path in plan.folder.rglob("*.safetensors"))
    assert plan.bytes() < written < 1.02 * plan.bytes() + 1000 * len(plan.shards())


def test_shards_are_mapped_and_not_read(plan, teacher):
    targets = fill(plan, teacher)
    shard, _ = targets.shard(Part("train"), 0)
    with open("/proc/self/maps") as maps:
        assert str(shard_path(plan.folder, Part("train"), 0)) in maps.read()
    assert shard["tokens.2"].dtype == torch.float16


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        (([(HIDDEN, 1), (HIDDEN, 2)], False, 1, 0.15), True),
        (([(QKV, 3)], False, 1, 0.15), True),
        (([(LOGITS, 4)], True, 1, 0.15), True),
        (([(HIDDEN, 5)], False, 1, 0.15), False),
        (([(HIDDEN, 3)], True, 1, 0.15), False),
        (([(HIDDEN, 1)], True, 2, 0.15), False),
        (([(HIDDEN, 1)], True, 1, 0.2), False),
        (([(HIDDEN, 1)], False, 2, 0.2), True),
    ],
)
def test_what_a_cache_serves(plan, teacher, asked, served):
    (signals, masked, views, fraction), blocks = asked, np.asarray(plan.blocks)
    wanted = states_of(signals)
    targets = fill(plan, teacher)
    assert targets.serves(wanted, masked, blocks, views, fraction) == served
    missing = np.setdiff1d(np.arange(blocks.max() + 2), blocks)[:1]
    assert not targets.serves(wanted, masked, np.append(blocks, missing), views, fraction)


def test_a_trial_that_the_cache_does_not_serve_runs_the_teacher(plan, teacher, corpus):
    targets = fill(plan, teacher)
    config = METHODS["hs"]
    student = build_student(config, teacher, 1, corpus)
    outcome = distil(
        student, teacher, corpus, TrainingRun(config, 2 * STEP, 1, EXACT), lambda row: None, targets=targets
    )
    assert outcome.targets == "live"  # another seed meets other blocks


def test_needs_are_the_union():
    wants = [
        ([(HIDDEN, 1), (HIDDEN, 4)], False), ([(QKV, 3)], False), ([(LOGITS, 4)], True), ([(HIDDEN, 4)], True),
        ([], True),
    ]  # fmt: skip
    needs = needs_of((states_of(asked), masked) for asked, masked in wants)
    assert needs == Needs((State(1, TOKENS), State(2, TOKENS), State(4, TOKENS)), (State(4, MASKED), State(4, TOKENS)))
    assert needs.anything and not needs_of([((), True)]).anything
