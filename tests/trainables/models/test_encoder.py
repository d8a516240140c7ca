"""One view over encoders, where one family is enough to see it; what holds for each is in test_families.py."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from trainables.models.encoder import hidden_states, layers, lm_head
from trainables.models.loading import has_lm_head, load_model


def test_the_layers_come_back_after_an_error(teacher):
    with pytest.raises((IndexError, RuntimeError)):
        hidden_states(teacher.model, torch.tensor([[10**6]]), None, 1)
    assert len(layers(teacher.model)) == 4


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_left_padding_does_not_shift_positions_of_the_roberta_kind(teachers, family):
    teacher = teachers(family)
    alone = torch.tensor([[0, 7, 30, 2]])
    ids_BT = torch.cat([torch.full((1, 3), teacher.tokenizer.pad_token_id), alone], dim=1)
    with torch.no_grad():
        padded = hidden_states(teacher.model, ids_BT, (ids_BT != 1).long())[-1][0, 3:]
        torch.testing.assert_close(padded, hidden_states(teacher.model, alone)[-1][0], atol=1e-5, rtol=1e-5)


def test_a_classification_head_is_no_language_modelling_head(tmp_path):
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    assert not has_lm_head(tmp_path, config)


def test_a_shallow_call_leaves_later_calls_whole(write_teacher):
    model = load_model(write_teacher()).eval()
    ids_BT = torch.tensor([[2, 7, 9, 3]])
    assert [len(hidden_states(model, ids_BT, None, depth)) for depth in (1, 0, 3, None)] == [2, 1, 4, 5]


def test_a_frozen_head_is_rounded_once_until_it_changes(write_teacher):
    model = load_model(write_teacher()).eval().requires_grad_(False)
    weight_VD = model.get_output_embeddings().weight

    def seen():
        with torch.autocast("cpu", torch.bfloat16):
            return lm_head(model, torch.ones(3, model.config.hidden_size)).weight_VD

    first_VD = seen()
    assert first_VD.dtype == torch.bfloat16
    assert first_VD.equal(weight_VD.bfloat16())
    assert seen() is first_VD
    weight_VD.mul_(2)
    assert seen().equal(weight_VD.bfloat16())
    weight_VD.requires_grad_()
    assert seen() is weight_VD
    assert lm_head(model.requires_grad_(False), torch.ones(3, model.config.hidden_size)).weight_VD is weight_VD
