"""DistilBERT (transformers/models/distilbert/modeling_distilbert.py): BERT without types, under other names."""

import torch
from torch import Tensor

from trainables.models.families.bert import embed, facts
from trainables.models.family import EmbeddingParts, Family, LayerParts, Model, ScoringHead, positions_alone


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words and positions."""
    own = encoder.embeddings
    return EmbeddingParts(own.word_embeddings, own.LayerNorm, own.position_embeddings)


def parts(layer: Model) -> LayerParts:
    """Queries, keys and values are three maps."""
    own, norm = layer.attention, layer.output_layer_norm
    return LayerParts(
        to_heads=(own.q_lin, own.k_lin, own.v_lin), from_heads=own.out_lin,
        to_units=(layer.ffn.lin1,), from_units=layer.ffn.lin2,
        norms=(layer.sa_layer_norm, norm), closing_norm=norm,
    )  # fmt: skip


def qkv(layer: Model, previous_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The attention reads the layer below as it is."""
    own = layer.attention
    return own.q_lin(previous_BTD), own.k_lin(previous_BTD), own.v_lin(previous_BTD)


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """The steps stand beside the encoder."""
    return model.vocab_layer_norm(model.activation(model.vocab_transform(hidden_ND)))


def scoring(model: Model) -> ScoringHead:
    """Two maps stand beside the encoder."""
    return ScoringHead(model.pre_classifier, torch.relu, model.classifier)


DISTILBERT = Family(
    facts=facts, layers="transformer.layer", embeddings=embeddings, embed=embed, parts=parts, qkv=qkv,
    head_marker="vocab_transform.weight", head_words=head_words,
    config_keys=("n_layers", "dim", "n_heads", "hidden_dim"), has_types=False, has_pooler=False,
    scoring=scoring, for_reading=positions_alone,
)  # fmt: skip
