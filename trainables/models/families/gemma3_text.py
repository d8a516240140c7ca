"""Gemma 3 with attention in both directions, as EmbeddingGemma has it (transformers/models/gemma3/modeling_gemma3.py,
arXiv:2509.20354).

EuroBERT's parts, with a norm before and after each sublayer, norms over the queries and keys of each head, and layers
of two types. Norms scale by 1 + their weight, and embeddings by the square root of their width. There is no masked-LM
head: what these models teach are embeddings and inner states. A Gemma that sees only what stands before a token is
refused: it is a decoder.
"""

from dataclasses import replace

from spaces.errors import SpecError
from spaces.students.architecture import StudentArchitecture
from trainables.models.families.eurobert import EUROBERT
from trainables.models.families.eurobert import fit_config as fit_heads
from trainables.models.families.eurobert import parts as eurobert_parts
from trainables.models.families.ultrabert import layer_kinds
from trainables.models.family import Config, EmbeddingParts, LayerParts, Model, ShiftedNorm
from trainables.models.rotary import HeadCounts, RotaryFacts, share_of_heads, types_of_depth


def facts(config: Config) -> RotaryFacts:
    """Raises SpecError for a decoder."""
    if not config.use_bidirectional_attention:
        raise SpecError(
            [f"{config.model_type} with use_bidirectional_attention = {config.use_bidirectional_attention} is a "
             "decoder, which sees what stands before a token only"]
        )  # fmt: skip
    return RotaryFacts(
        config.model_type, gated=True, norm_vectors=1, attention_bias=config.attention_bias, units_bias=False,
        output_bias=False, head=HeadCounts(maps=0, vectors=0, words=0), embedding_norm=False, final_norm=True,
        layer_norms=4, head_norms=True, share=share_of_heads(config),
        groups=config.num_attention_heads // config.num_key_value_heads,
        layer_types=tuple(config.layer_types), window=2 * config.sliding_window - 1,
    )  # fmt: skip


def fit_config(config: Config, before: StudentArchitecture) -> None:
    """EuroBERT's, and a type for each layer. The scale of the scores follows the size of the heads if it did before."""
    by_size = config.query_pre_attn_scalar == config.head_dim
    fit_heads(config, before)
    config.layer_types = types_of_depth(config.layer_types, config.num_hidden_layers)
    if by_size:
        config.query_pre_attn_scalar = config.head_dim


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words alone, scaled."""
    return EmbeddingParts(encoder.embed_tokens, norm=None, scale=encoder.embed_tokens.scalar_embed_scale)


def parts(layer: Model) -> LayerParts:
    """EuroBERT's, with the other norms."""
    own = layer.self_attn
    norms = (
        layer.input_layernorm, layer.post_attention_layernorm,
        layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm,
    )  # fmt: skip
    return replace(eurobert_parts(layer), norms=tuple(map(ShiftedNorm, norms)), head_norms=(own.q_norm, own.k_norm))


GEMMA3_TEXT = replace(
    EUROBERT, facts=facts, fit_config=fit_config, layer_kinds=layer_kinds, embeddings=embeddings, parts=parts,
    final_norm=lambda encoder: ShiftedNorm(encoder.norm), head_marker=None, head_words=None,
)  # fmt: skip
