"""Signals: read, kept as states and restored from them; a model runs as deep as they need; one from outside works."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pooled import POOLED
from small_trials import fill

from trainables.models.encoder import hidden_states, qkv
from trainables.models.encoder import layers as layers_of
from trainables.models.signals import (
    HIDDEN,
    LOGITS,
    MASKED,
    QKV,
    SIGNALS,
    TOKENS,
    State,
    read_signals,
    read_states,
    restore_signals,
    states_of,
)
from trainables.training.readings import read_batch
from trainables.training.targets import Needs

ALL = {**SIGNALS, "pooled": POOLED}
IDS = torch.tensor([[2, 7, 9, 3], [2, 30, 31, 3]])
POSITIONS = torch.tensor([[0, 1, 0, 0], [0, 1, 1, 0]]).bool()


def tensors(signal):
    """Whatever a signal is made of."""
    if isinstance(signal, torch.Tensor):
        return [signal]
    return list(signal) if isinstance(signal, tuple) else list(vars(signal).values())


def test_states_are_those_that_signals_are_restored_from():
    assert states_of([(QKV, 4)]) == (State(3, TOKENS),)
    assert states_of([(HIDDEN, 1), (HIDDEN, 3), (QKV, 2)]) == (State(1, TOKENS), State(3, TOKENS))
    assert states_of([(LOGITS, 4)]) == (State(4, MASKED),)
    assert states_of([]) == ()


@pytest.mark.parametrize(
    ("asked", "runs"),
    [([(HIDDEN, 1), (HIDDEN, 3)], 3), ([(QKV, 1)], 0), ([(HIDDEN, 1), (LOGITS, 4)], 4), ([(POOLED, 2)], 2), ([], 0)],
)
def test_no_layer_runs_that_nothing_is_read_from(teacher, asked, runs):
    ran = []
    every = layers_of(teacher.model)
    hooks = [layer.register_forward_hook(lambda *_, number=i: ran.append(number)) for i, layer in enumerate(every, 1)]
    states = read_states(teacher.model, states_of(asked), IDS, None, POSITIONS)
    for hook in hooks:
        hook.remove()
    assert ran == list(range(1, runs + 1))
    assert tuple(states) == states_of(asked)


def test_signals_are_what_was_asked_for_and_no_more(teacher):
    states = hidden_states(teacher.model, IDS)
    read = read_signals(teacher.model, [(HIDDEN, 1), (HIDDEN, 2), (QKV, 3)], IDS)
    assert read.keys() == {(HIDDEN, 1), (HIDDEN, 2), (QKV, 3)}
    torch.testing.assert_close(read[HIDDEN, 2], states[2])
    for ours, theirs in zip(read[QKV, 3], qkv(teacher.model, 3, states[2]), strict=True):
        torch.testing.assert_close(ours, theirs)
    head = read_signals(teacher.model, [(LOGITS, 4)], IDS, None, POSITIONS)[LOGITS, 4]
    logits_NV = head.words_ND @ head.weight_VD.T + head.bias_V
    torch.testing.assert_close(logits_NV, teacher.model(input_ids=IDS).logits[POSITIONS])
    with pytest.raises(ValueError, match="needs a method with masked_inputs"):
        read_signals(teacher.model, [(LOGITS, 4)], IDS)


@pytest.mark.parametrize("name", ALL)
def test_every_signal_is_restored_from_what_a_cache_keeps_of_it(name, teachers, corpus, plan):
    teacher = teachers("bert", labels={"score": 1, "class_scores": 3}.get(name, 0))
    asked, blocks, views = [(ALL[name], 4)], np.asarray(plan.blocks[2:7]), np.zeros(5, int)
    reading = read_batch(corpus, "train", blocks, views, plan.mask_fraction)
    live = read_signals(teacher.model, asked, reading.inputs_BT, None, reading.positions_BT)
    targets = fill(replace(plan, needs=Needs(masked=states_of(asked))), teacher)
    assert targets.serves(states_of(asked), True, blocks, 1, plan.mask_fraction)
    assert not targets.serves(states_of([(ALL[name], 3)]), True, blocks, 1, plan.mask_fraction)
    kept = targets.read("train", states_of(asked), blocks, views, reading)
    restored = restore_signals(teacher.model, asked, kept)
    for ours, theirs in zip(tensors(restored[asked[0]]), tensors(live[asked[0]]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=4e-3 * theirs.abs().max().item())
