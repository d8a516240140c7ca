"""Mixup of texts: against a slow oracle of Ko et al. 2023, in parts of a batch, and how its weight grows."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_trials import EXACT, METHODS, run

from spaces.errors import TrialFailed
from trainables.models.encoder import hidden_states, layers
from trainables.models.student import build_student
from trainables.training.distillation import Distillation
from trainables.training.mixing import Mix, both_valid, check_pairs, mix_of, paired, partner
from trainables.training.readings import Reading

MIXED = replace(EXACT, mixup=0.1)
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])


def relations(model, layer, rows, mask, heads):
    """Three matrices of relations for each row and head, of a BERT that is given H_0 of each row: [row][head, kind]."""
    found = []
    for first_TD, valid_T in zip(rows, mask, strict=True):
        state = first_TD[None]
        padded = torch.where(valid_T.bool(), 0.0, -1e9)[None, None, None]
        for each in layers(model)[: layer - 1]:
            out = each(state, attention_mask=padded)
            state = out if isinstance(out, torch.Tensor) else out[0]
        own = layers(model)[layer - 1].attention.self
        of_row = []
        for kind in (own.query, own.key, own.value):
            given = kind(state)[0]
            size = given.shape[1] // heads
            split = [given[:, head * size : (head + 1) * size] for head in range(heads)]
            of_row.append([x @ x.T / math.sqrt(size) for x in split])
        found.append(of_row)
    return found


def divergence(wanted, ours, mask):
    """Of `ours` from `wanted`, one KL after the other: sum over Q, K, V of means over heads and valid rows."""
    total = 0.0
    for kind in range(3):
        values = []
        for row, valid_T in enumerate(mask):
            places = [place for place, valid in enumerate(valid_T) if valid]
            for mine, theirs in zip(ours[row][kind], wanted[row][kind], strict=True):
                for place in places:
                    p = torch.softmax(theirs[place][places], 0)
                    q = torch.softmax(mine[place][places], 0)
                    values.append(float((p * (p / q).log()).sum()))
        total += sum(values) / len(values)
    return total


@torch.no_grad()
@pytest.mark.parametrize(("depth", "mask"), [(1, None), (2, None), (2, MASK)], ids=["shallow", "packed", "padded"])
def test_the_loss_is_that_of_the_paper(teacher, corpus, depth, mask):
    config = METHODS["mha"] | {"num_layers": depth}
    student = build_student(config, teacher, 0, corpus)
    module = Distillation(student, teacher, corpus, config, MIXED)
    ids = torch.from_numpy(corpus.train[:4, :6].astype(np.int64))
    share, weight = 0.7, 0.05
    found = module(teacher.model, Reading(ids, None, ids, mask_BT=mask), Mix(share, weight)).item()
    valid = torch.ones_like(ids) if mask is None else mask
    swapped = [1, 0, 3, 2]  # rows stand beside their partners
    union = [[max(a, b) for a, b in zip(valid[i].tolist(), valid[swapped[i]].tolist(), strict=True)] for i in range(4)]
    union = torch.tensor(union)

    def seen(model, layer, mixed):
        rows = hidden_states(model, ids, None, 0)[0]
        mixes = [share * rows[i] + (1 - share) * rows[swapped[i]] for i in range(4)]
        return relations(model, layer, mixes if mixed else rows, union if mixed else valid, config["relation_heads"])

    ours, alone = seen(student, depth, True), seen(student, depth, False)
    wanted = divergence(seen(teacher.model, config["teacher_layer"], True), ours, union)
    wanted += weight * share * divergence(alone, ours, valid)
    wanted += weight * (1 - share) * divergence([alone[i] for i in swapped], ours, valid[swapped])
    assert found == pytest.approx(wanted, rel=1e-4)


def test_a_student_is_not_moved_by_its_answers_to_single_texts(teacher, corpus):
    """They are what it is drawn to: with a share of 1 it says the same of the mix, so nothing is left to learn."""
    config = METHODS["mha"]
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, MIXED)
    ids = torch.from_numpy(corpus.train[:4].astype(np.int64))
    reading = Reading(ids, None, ids)
    plain = module(teacher.model, reading).item()
    assert module(teacher.model, reading, Mix(1.0, 0.5)).item() == pytest.approx(plain, rel=1e-6)


def test_parts_of_a_batch_hold_whole_pairs(teacher, corpus):
    whole = run(METHODS["mha"], teacher, corpus, steps=5, training=MIXED)[1]
    parts = run(METHODS["mha"], teacher, corpus, steps=5, training=replace(MIXED, gradient_accumulation=2))[1]
    plain = run(METHODS["mha"], teacher, corpus, steps=5, training=EXACT)[1]
    assert [row.loss for row in parts] == pytest.approx([row.loss for row in whole], rel=1e-4)
    assert abs(plain[0].loss - whole[0].loss) > 1e-3 * whole[0].loss
    with pytest.raises(TrialFailed, match=r"multiple of 16 .*got 8; nearest: 16"):
        run(METHODS["mha"], teacher, corpus, training=replace(MIXED, gradient_accumulation=8))
    check_pairs(12, 3)


def test_partners_are_those_of_the_reversed_batch():
    order = paired(8)
    assert order.tolist() == [0, 7, 1, 6, 2, 5, 3, 4]
    rows = torch.from_numpy(order)
    assert torch.equal(partner(rows), 7 - rows)
    assert both_valid(None) is None
    assert both_valid(torch.tensor([[1, 1, 0], [1, 0, 0]])).tolist() == [[1, 1, 0], [1, 1, 0]]


def test_the_weight_grows_and_the_shares_are_drawn_anew():
    mixes = [mix_of(step, 200, 3, 0.1) for step in range(1, 201)]
    assert [mix.weight for mix in mixes] == pytest.approx(list(np.linspace(0.0005, 0.1, 200)))
    shares = [mix.share for mix in mixes]
    assert 0.5 <= min(shares) < 0.52 and 0.98 < max(shares) <= 1 and len(set(shares)) == 200
    assert np.mean(shares) == pytest.approx(0.75, abs=0.03)
    assert mix_of(5, 200, 3, 0.1) == mixes[4] and mix_of(5, 200, 4, 0.1).share != mixes[4].share
