"""Qwen3 as a model of embeddings (transformers/models/qwen3/modeling_qwen3.py, arXiv:2506.05176).

EuroBERT's parts, with norms over the queries and keys of each head, and a mask: a token sees those before it and itself
only, in students as in the teacher. All heads together may be wider than the layers, and are so in a student by the
same share. There is no masked-LM head: what these models teach are embeddings, inner states and relations to what
stands before. Layers that see a window are refused, for no model that is published has them.
"""

from dataclasses import replace

from spaces.errors import SpecError
from spaces.students.architecture import StudentArchitecture
from trainables.models.families.eurobert import EUROBERT
from trainables.models.families.eurobert import fit_config as fit_heads
from trainables.models.families.eurobert import parts as eurobert_parts
from trainables.models.family import Config, LayerParts, Model
from trainables.models.rotary import LOCAL, HeadCounts, RotaryFacts, share_of_heads, types_of_depth


def facts(config: Config) -> RotaryFacts:
    """Biases are the config's choice. Raises SpecError for layers that see a window."""
    if LOCAL in config.layer_types:
        raise SpecError(
            [f"{config.model_type} with layers that see a window (layer_types has {LOCAL!r}) cannot be distilled: "
             "all must be 'full_attention'"]
        )  # fmt: skip
    return RotaryFacts(
        config.model_type, gated=True, norm_vectors=1, attention_bias=config.attention_bias, units_bias=False,
        output_bias=False, head=HeadCounts(maps=0, vectors=0, words=0), embedding_norm=False, final_norm=True,
        head_norms=True, share=share_of_heads(config), causal=True,
        groups=config.num_attention_heads // config.num_key_value_heads,
    )  # fmt: skip


def fit_config(config: Config, before: StudentArchitecture) -> None:
    """EuroBERT's, and a type for each layer."""
    fit_heads(config, before)
    config.layer_types = types_of_depth(config.layer_types, config.num_hidden_layers)


def parts(layer: Model) -> LayerParts:
    """EuroBERT's, with norms over heads."""
    own = layer.self_attn
    return replace(eurobert_parts(layer), head_norms=(own.q_norm, own.k_norm))


QWEN3 = replace(EUROBERT, facts=facts, fit_config=fit_config, parts=parts, head_marker=None, head_words=None)
