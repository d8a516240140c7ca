"""Which layers of a teacher are removed first: against a slow oracle, in every family, and kept in the cache."""

import copy
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from trainables.models import layer_removal
from trainables.models.encoder import family_of, hidden_states, layers
from trainables.models.layer_removal import find_order, layers_left, removal_order
from trainables.models.stream_sample import of_tokens, sample


def without(model, left, ids_BT, mask_BT):
    """The last states of a copy that holds these layers alone."""
    cut, family = copy.deepcopy(model), family_of(model.config)
    every = layers(cut)
    path, _, name = family.layers.rpartition(".")
    setattr(cut.base_model.get_submodule(path), name, torch.nn.ModuleList(every[layer - 1] for layer in left))
    cut.config.num_hidden_layers = len(left)
    return of_tokens(hidden_states(cut, ids_BT, mask_BT)[-1], mask_BT)


@torch.no_grad()
def test_each_time_the_layer_goes_whose_loss_changes_least(teacher, corpus):
    model, depth = teacher.model, teacher.facts.architecture.num_layers
    ids_BT, mask_BT = sample(model, corpus, round(layer_removal.SAMPLE_TOKENS / corpus.tokens_per_row))
    whole_ND = of_tokens(hidden_states(model, ids_BT, mask_BT)[-1], mask_BT)
    left = tuple(range(1, depth + 1))
    for number in range(depth - 1, 0, -1):
        near = {
            kept: float(F.cosine_similarity(without(model, kept, ids_BT, mask_BT), whole_ND, dim=-1).mean())
            for kept in combinations(left, number)
        }
        left = max(near, key=near.get)
        assert layers_left(teacher, corpus, number) == left
    assert layers_left(teacher, corpus, depth) == tuple(range(1, depth + 1))


def test_the_teacher_is_as_it_was(teacher, corpus):
    ids_BT, mask_BT = sample(teacher.model, corpus)
    before = hidden_states(teacher.model, ids_BT, mask_BT)[-1]
    find_order(teacher, corpus, lambda line: None)
    assert torch.equal(hidden_states(teacher.model, ids_BT, mask_BT)[-1], before)
    assert all("forward" not in vars(layer) for layer in layers(teacher.model))


def test_an_order_is_found_once(teacher, corpus, monkeypatch):
    order = removal_order(teacher, corpus)
    monkeypatch.setattr(layer_removal, "find_order", lambda *given: pytest.fail("looked for again"))
    assert removal_order(teacher, corpus) == order
