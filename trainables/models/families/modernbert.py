"""ModernBERT (transformers/models/modernbert/modeling_modernbert.py, arXiv:2412.13663).

Norms stand before the sublayers and after the last layer; the first layer has none before its attention, for it reads
the normalised embeddings. Queries, keys and values are one map, feed-forward units are gated by the second half of
theirs, positions are rotations, and most layers see only a window of neighbours.

A student of fewer layers has the types (global or local, each with its rotations) of the teacher's first layers, and
its layers are copies of teacher layers of the same type, its first layer of the first. Under a teacher of another
family it has the types that are published: a global layer, then two that see 64 tokens to each side, and so on.
"""

from torch import Tensor

from spaces.students.architecture import StudentArchitecture
from trainables.models.families.bert import embed
from trainables.models.family import Config, EmbeddingParts, Family, LayerParts, Model, ScoringHead, positions_alone
from trainables.models.rotary import HeadCounts, RotaryFacts, types_of_depth


def facts(config: Config) -> RotaryFacts:
    """Biases are the config's choice. The first layer has one norm less, and one follows the last."""
    norm = 1 + config.norm_bias
    return RotaryFacts(
        config.model_type, gated=True, norm_vectors=norm, attention_bias=config.attention_bias,
        units_bias=config.mlp_bias, output_bias=config.mlp_bias,
        head=HeadCounts(vectors=config.classifier_bias + norm, words=int(config.decoder_bias)),
        final_norm=True, first_layer_lacks=1, layer_types=tuple(config.layer_types),
        window=2 * (config.local_attention // 2) + 1,
    )  # fmt: skip


def fit_config(config: Config, before: StudentArchitecture) -> None:
    """transformers builds a model whose types are more than its layers, and refuses to save it."""
    config.layer_types = types_of_depth(config.layer_types, config.num_hidden_layers)


def layer_kinds(config: Config) -> tuple[str, ...]:
    """The first layer is a kind of its own, for its attention reads without a norm."""
    return ("first", *config.layer_types[1:])


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words alone."""
    return EmbeddingParts(encoder.embeddings.tok_embeddings, encoder.embeddings.norm)


def parts(layer: Model) -> LayerParts:
    """Fused maps hold queries, keys and values, or units and gates, below one another."""
    norms = [norm for norm in (layer.attn_norm, layer.mlp_norm) if hasattr(norm, "weight")]
    return LayerParts(
        to_heads=(layer.attn.Wqkv,), from_heads=layer.attn.Wo, to_units=(layer.mlp.Wi,), from_units=layer.mlp.Wo,
        norms=tuple(norms), closing_norm=None,
    )  # fmt: skip


def qkv(layer: Model, previous_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As the attention has them before it turns them."""
    query, key, value = layer.attn.Wqkv(layer.attn_norm(previous_BTD)).chunk(3, dim=-1)
    return query, key, value


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """The steps before the decoder are a module."""
    return model.head(hidden_ND)


def scoring(model: Model) -> ScoringHead:
    """The same steps as in the masked-LM head, and a map to the score."""
    return ScoringHead(model.head.dense, model.head.act, model.classifier, model.head.norm)


MODERNBERT = Family(
    facts=facts, layers="layers", embeddings=embeddings, embed=embed, parts=parts, qkv=qkv,
    final_norm=lambda encoder: encoder.final_norm, fit_config=fit_config, layer_kinds=layer_kinds,
    head_marker="decoder.bias", head_words=head_words,  # a classifier has head.dense too
    has_types=False, has_pooler=False, for_reading=positions_alone,
    scoring=scoring, scored_state=lambda config: config.classifier_pooling,
)  # fmt: skip
