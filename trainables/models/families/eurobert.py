"""EuroBERT (transformers/models/eurobert/modeling_eurobert.py, arXiv:2503.05500).

Norms without biases stand before the sublayers and after the last layer, none over the embeddings; positions are
rotations, feed-forward units are gated, and heads of queries may share heads of keys and values. The masked-LM head is
its decoder alone, and has weights of its own: where the config ties it to the words, nothing in the weights tells that
there is one, and there is said to be none.
"""

from torch import Tensor

from spaces.students.architecture import StudentArchitecture
from trainables.models.family import Config, EmbeddingParts, Family, LayerParts, Model
from trainables.models.rotary import HeadCounts, RotaryFacts, share_of_heads


def facts(config: Config) -> RotaryFacts:
    """Biases are the config's choice."""
    return RotaryFacts(
        config.model_type, gated=True, norm_vectors=1, attention_bias=config.attention_bias,
        units_bias=config.mlp_bias, output_bias=config.mlp_bias,
        head=HeadCounts(maps=0, vectors=0, words=int(config.mlp_bias), tied=config.tie_word_embeddings),
        embedding_norm=False, final_norm=True, share=share_of_heads(config),
        groups=config.num_attention_heads // config.num_key_value_heads,
    )  # fmt: skip


def fit_config(config: Config, before: StudentArchitecture) -> None:
    """As many heads of queries share one of keys and values as in the teacher, and heads have their share of width."""
    groups = before.num_heads // config.num_key_value_heads
    config.num_key_value_heads = config.num_attention_heads // groups
    units = config.head_dim * before.num_heads * config.hidden_size // before.hidden_size
    config.head_dim = units // config.num_attention_heads


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words alone."""
    return EmbeddingParts(encoder.embed_tokens, norm=None)


def embed(encoder: Model, ids_BT: Tensor) -> Tensor:
    """The rows as they are."""
    return encoder.embed_tokens(ids_BT)


def parts(layer: Model) -> LayerParts:
    """Units and their gates are two maps."""
    own, ffn = layer.self_attn, layer.mlp
    return LayerParts(
        to_heads=(own.q_proj, own.k_proj, own.v_proj), from_heads=own.o_proj,
        to_units=(ffn.gate_proj, ffn.up_proj), from_units=ffn.down_proj,
        norms=(layer.input_layernorm, layer.post_attention_layernorm), closing_norm=None,
    )  # fmt: skip


def qkv(layer: Model, previous_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As the attention has them before it turns them, keys and values again for each head that reads them."""
    own, normal_BTD = layer.self_attn, layer.input_layernorm(previous_BTD)

    def for_all_heads(states_BTK: Tensor) -> Tensor:
        heads_BTHK = states_BTK.unflatten(-1, (-1, own.head_dim))
        return heads_BTHK.repeat_interleave(own.num_key_value_groups, dim=-2).flatten(-2)

    return own.q_proj(normal_BTD), for_all_heads(own.k_proj(normal_BTD)), for_all_heads(own.v_proj(normal_BTD))


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """The decoder reads the last hidden states."""
    return hidden_ND


EUROBERT = Family(
    facts=facts, fit_config=fit_config, layers="layers", embeddings=embeddings, embed=embed, parts=parts, qkv=qkv,
    final_norm=lambda encoder: encoder.norm, head_marker="lm_head.weight", head_words=head_words,
    has_types=False, has_pooler=False,
)  # fmt: skip
