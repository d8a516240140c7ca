"""What is read of each family, against what hooks see inside transformers' own modules."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, GPT2Config

from spaces.errors import SpecError
from spaces.students.architecture import StudentArchitecture
from trainables.models.encoder import (
    architecture,
    build_model,
    has_lm_head,
    hidden_states,
    layers,
    lm_head,
    lm_logits,
    load_model,
    qkv,
    set_architecture,
    wiring,
    word_embeddings,
)

FAMILIES = ["bert", "roberta", "xlm-roberta", "distilbert"]
SUFFIXES = {"distilbert": ("q_lin", "k_lin", "v_lin")}


def padded_batch(tokenizer, side):
    """Three texts of different lengths, padded on one side with the tokenizer's own padding token."""
    rows = [tokenizer(text)["input_ids"] for text in ("ba den fi gort ku ban", "dert ba", "ka ke ki ko")]
    length = max(map(len, rows))
    pad = tokenizer.pad_token_id
    ids = [row + [pad] * (length - len(row)) if side == "right" else [pad] * (length - len(row)) + row for row in rows]
    ids_BT = torch.tensor(ids)
    return ids_BT, (ids_BT != pad).long()


@pytest.fixture(params=FAMILIES)
def teacher_of_family(request, teachers):
    return teachers(request.param)


@pytest.mark.parametrize("side", ["left", "right"])
def test_signals_are_those_inside_the_model(teacher_of_family, side):
    model = teacher_of_family.model
    ids_BT, mask_BT = padded_batch(teacher_of_family.tokenizer, side)
    seen = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
        for name, module in model.named_modules()
        if name.endswith(SUFFIXES.get(model.config.model_type, (".query", ".key", ".value")))
    ]
    with torch.no_grad():
        out = model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True)
    for handle in handles:
        handle.remove()
    assert len(seen) == 3 * len(layers(model)) == 12
    with torch.no_grad():
        states = hidden_states(model, ids_BT, mask_BT)
        assert len(states) == len(out.hidden_states) == 5
        for ours, theirs in zip(states, out.hidden_states, strict=True):
            assert torch.equal(ours, theirs)
        for number in range(1, 5):
            inside = [value for name, value in seen.items() if f".layer.{number - 1}." in name]
            for ours, theirs in zip(qkv(model, number, states[number - 1]), inside, strict=True):
                assert torch.equal(ours, theirs)
        torch.testing.assert_close(lm_logits(model, states[-1][mask_BT.bool()]), out.logits[mask_BT.bool()])


def test_a_head_is_its_logits_short_of_the_last_product(teacher_of_family):
    model, hidden_ND = teacher_of_family.model, torch.randn(3, 32)
    head = lm_head(model, hidden_ND)
    assert head.weight_VD is word_embeddings(model)  # so that training moves both with the gradients of both
    torch.testing.assert_close(head.words_ND @ head.weight_VD.T + head.bias_V, lm_logits(model, hidden_ND))
    with torch.autocast("cpu", torch.bfloat16):
        assert lm_head(model, hidden_ND).words_ND.dtype == torch.bfloat16
        assert lm_logits(model, hidden_ND).dtype == torch.bfloat16


def test_a_shallow_run_stops_early(teacher_of_family):
    model = teacher_of_family.model
    ids_BT, mask_BT = padded_batch(teacher_of_family.tokenizer, "right")
    ran = []
    handles = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(layers(model), start=1)
    ]
    with torch.no_grad():
        full = hidden_states(model, ids_BT, mask_BT)
        for depth in (0, 1, 3):
            ran.clear()
            states = hidden_states(model, ids_BT, mask_BT, depth)
            assert ran == list(range(1, depth + 1))
            assert len(states) == depth + 1
            for ours, theirs in zip(states, full, strict=False):
                torch.testing.assert_close(ours, theirs)
    for handle in handles:
        handle.remove()
    assert len(layers(model)) == 4


def test_the_layers_come_back_after_an_error(teacher):
    with pytest.raises((IndexError, RuntimeError)):
        hidden_states(teacher.model, torch.tensor([[10**6]]), None, 1)
    assert len(layers(teacher.model)) == 4


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_left_padding_does_not_shift_positions_of_the_roberta_kind(teachers, family):
    teacher = teachers(family)
    ids_BT, mask_BT = padded_batch(teacher.tokenizer, "left")
    alone = ids_BT[1][mask_BT[1].bool()][None]
    with torch.no_grad():
        padded = hidden_states(teacher.model, ids_BT, mask_BT)[-1][1][mask_BT[1].bool()]
        torch.testing.assert_close(padded, hidden_states(teacher.model, alone)[-1][0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_head_is_told_from_a_missing_one(write_teacher, family):
    with_head, without = write_teacher(family), write_teacher(family, lm_head=False)
    config = load_model(with_head).config
    assert has_lm_head(with_head, config)
    assert not has_lm_head(without, config)
    assert load_model(with_head).get_output_embeddings() is not None
    bare = load_model(without)
    assert bare.get_output_embeddings() is None
    assert not any("pooler" in name for name, _ in bare.named_parameters())


def test_a_classification_head_is_no_language_modelling_head(tmp_path):
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    assert not has_lm_head(tmp_path, config)


@pytest.mark.parametrize("lm_head", [True, False])
def test_shapes_are_written_and_read_back(teacher_of_family, lm_head):
    config = type(teacher_of_family.model.config)(**teacher_of_family.model.config.to_dict())
    shape = StudentArchitecture(2, 24, 3, 40)
    set_architecture(config, shape)
    model = build_model(config, lm_head=lm_head)
    assert architecture(model.config) == shape
    assert len(layers(model)) == 2
    assert not any("pooler" in name for name, _ in model.named_parameters())
    hidden = hidden_states(model, torch.tensor([[2, 7, 3]]))
    assert [tuple(h.shape) for h in hidden] == [(1, 3, 24)] * 3


def test_an_unknown_family_is_refused_by_name():
    with pytest.raises(SpecError, match="gpt2"):
        wiring(GPT2Config())


def test_a_shallow_call_leaves_later_calls_whole(write_teacher):
    model = load_model(write_teacher()).eval()
    ids_BT = torch.tensor([[2, 7, 9, 3]])
    assert [len(hidden_states(model, ids_BT, None, depth)) for depth in (1, 0, 3, None)] == [2, 1, 4, 5]
