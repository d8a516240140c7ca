"""Nomic BERT (transformers/models/nomic_bert/modeling_nomic_bert.py, arXiv:2402.01613).

BERT with rotations for positions, gated feed-forward units and no bias in the maps of its layers.
"""

from dataclasses import replace

from torch import Tensor

from spaces.students.architecture import StudentArchitecture
from trainables.models.families.bert import BERT
from trainables.models.family import Config, EmbeddingParts, LayerParts, Model
from trainables.models.rotary import HeadCounts, RotaryFacts


def facts(config: Config) -> RotaryFacts:
    """Norms have biases, maps have none."""
    return RotaryFacts(
        config.model_type, gated=True, norm_vectors=2, attention_bias=False, units_bias=False, output_bias=False,
        head=HeadCounts(),
    )  # fmt: skip


def fit_config(config: Config, before: StudentArchitecture) -> None:
    """transformers writes the size of heads down when a config is made."""
    config.head_dim = config.hidden_size // config.num_attention_heads


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words, and types where there are any."""
    own = encoder.embeddings
    return EmbeddingParts(own.word_embeddings, own.LayerNorm, types=own.token_type_embeddings)


def parts(layer: Model) -> LayerParts:
    """Units and their gates are two maps."""
    own, ffn, norm = layer.self_attn, layer.mlp, layer.post_mlp_layernorm
    return LayerParts(
        to_heads=(own.q_proj, own.k_proj, own.v_proj), from_heads=own.o_proj,
        to_units=(ffn.gate_proj, ffn.up_proj), from_units=ffn.down_proj,
        norms=(layer.post_attention_layernorm, norm), closing_norm=norm,
    )  # fmt: skip


def qkv(layer: Model, previous_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As the attention has them before it turns them; it reads the layer below as it is."""
    own = layer.self_attn
    return own.q_proj(previous_BTD), own.k_proj(previous_BTD), own.v_proj(previous_BTD)


NOMIC_BERT = replace(
    BERT, facts=facts, fit_config=fit_config, layers="layers", embeddings=embeddings, parts=parts, qkv=qkv,
)  # fmt: skip
