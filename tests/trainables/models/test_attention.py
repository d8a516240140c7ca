"""Which attention function a model runs, and that its numbers do not hang on it."""

import pytest
import torch
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel, RobertaConfig, RobertaModel

from trainables.models.attention import LONGEST, PLAIN, attention_by, quick_attention
from trainables.models.encoder import hidden_states

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
MODELS = {
    "bert": lambda: BertModel(BertConfig(**SIZES)),
    "roberta": lambda: RobertaModel(RobertaConfig(**SIZES, max_position_embeddings=64)),
    "modernbert": lambda: ModernBertModel(ModernBertConfig(**SIZES, pad_token_id=0, local_attention=8)),
}
BF16 = {"device_type": "cpu", "dtype": torch.bfloat16}


def inputs(num_tokens=12):
    """(ids, mask) of two texts, the second shorter."""
    ids = torch.randint(4, 60, (2, num_tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, num_tokens // 2 :] = 0
    return ids, mask


def function_of(model):
    """The name of its attention function."""
    return model.config._attn_implementation


@pytest.mark.parametrize("family", MODELS)
def test_in_bfloat16_on_a_cpu_attention_is_plain_products(family, monkeypatch):
    torch.manual_seed(0)
    model, (ids, mask) = MODELS[family]().eval(), inputs()
    seen, before = [], function_of(model)
    model.base_model.register_forward_pre_hook(lambda *_: seen.append(function_of(model)))
    exact = hidden_states(model, ids, mask)
    with torch.autocast(**BF16):
        rounded = hidden_states(model, ids, mask)
    assert seen == [before, PLAIN]
    assert function_of(model) == before == "sdpa"
    for own, its in zip(rounded, exact, strict=True):
        valid = mask.bool()
        torch.testing.assert_close(own[valid].float(), its[valid], atol=0.06, rtol=0.05)


@pytest.mark.parametrize("grad", [True, False])
def test_long_texts_keep_the_fused_function(grad):
    model, short, long = MODELS["bert"](), *(torch.ones(1, size, dtype=int) for size in (LONGEST, LONGEST + 1))
    found = []
    for ids in (short, long):
        with torch.autocast(**BF16), torch.set_grad_enabled(grad), quick_attention(model, ids):
            found.append(function_of(model))
    assert found == [PLAIN, "sdpa"]


def test_in_float32_nothing_changes():
    model, (ids, _) = MODELS["bert"](), inputs()
    with quick_attention(model, ids):
        assert function_of(model) == "sdpa"


def test_the_function_comes_back_after_an_error():
    model = MODELS["bert"]()
    with pytest.raises(KeyError), attention_by(model, PLAIN):
        assert function_of(model) == PLAIN
        raise KeyError
    assert function_of(model) == "sdpa"
