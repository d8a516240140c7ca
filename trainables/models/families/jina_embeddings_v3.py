"""Jina Embeddings v3 (transformers/models/jina_embeddings_v3/modeling_jina_embeddings_v3.py, arXiv:2409.10173).

XLM-R with rotations for positions; its adapters for tasks are not part of the model.
"""

from dataclasses import replace

from trainables.models.families.gte import GTE
from trainables.models.families.roberta import ROBERTA
from trainables.models.family import Config, LayerParts, Model
from trainables.models.rotary import HeadCounts, RotaryFacts


def facts(config: Config) -> RotaryFacts:
    """All maps have biases."""
    return RotaryFacts(
        config.model_type, gated=False, norm_vectors=2, attention_bias=True, units_bias=True, output_bias=True,
        head=HeadCounts(),
    )  # fmt: skip


def parts(layer: Model) -> LayerParts:
    """The feed-forward units have no gates."""
    own, ffn, norm = layer.self_attn, layer.mlp, layer.post_mlp_layernorm
    return LayerParts(
        to_heads=(own.q_proj, own.k_proj, own.v_proj), from_heads=own.o_proj,
        to_units=(ffn.fc1,), from_units=ffn.fc2,
        norms=(layer.post_attention_layernorm, norm), closing_norm=norm,
    )  # fmt: skip


JINA_EMBEDDINGS_V3 = replace(GTE, facts=facts, parts=parts, scoring=ROBERTA.scoring)
