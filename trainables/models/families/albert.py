"""ALBERT (transformers/models/albert/modeling_albert.py, arXiv:1909.11942): one layer's weights, run again and again.

A student of fewer layers runs them fewer times: it is faster, and as large. What makes a student smaller is a narrower
width or fewer words. Its layer is a copy of the teacher's, whatever the start; as its closing norm serves all depths,
it is not fitted to the states of one. The tables are factorised as those of ELECTRA, and always mapped into the stream.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from spaces.errors import SpecError
from spaces.students.architecture import Parameters, StudentArchitecture, TeacherFacts
from trainables.models.families.bert import BERT
from trainables.models.families.bert import embeddings as bert_embeddings
from trainables.models.families.electra import ElectraFacts
from trainables.models.family import Config, EmbeddingParts, LayerParts, Model, ScoringHead


@dataclass(frozen=True)
class AlbertFacts(ElectraFacts):
    """Counts of ELECTRA, of which all layers but the first cost nothing to store."""

    def problems(self, architecture: StudentArchitecture) -> list[str]:
        """The map into the stream is there at any width."""
        return []

    def parameters(self, architecture: StudentArchitecture, teacher: TeacherFacts) -> Parameters:
        """Those of one layer."""
        return super().parameters(replace(architecture, num_layers=1), teacher)


def facts(config: Config) -> AlbertFacts:
    """Raises SpecError where layers are of several groups, or groups of several layers."""
    for key in ("num_hidden_groups", "inner_group_num"):
        if (found := getattr(config, key)) != 1:
            raise SpecError(
                [f"{config.model_type} with {key} = {found} cannot be distilled: only one layer for all ({key} = 1)"]
            )
    return AlbertFacts(config.model_type, embedding_size=config.embedding_size)


def embeddings(encoder: Model) -> EmbeddingParts:
    """BERT's, and the map into the stream."""
    return replace(bert_embeddings(encoder), into_stream=encoder.encoder.embedding_hidden_mapping_in)


def embed(encoder: Model, ids_BT: Tensor) -> Tensor:
    """The layers read what the map makes."""
    return encoder.encoder.embedding_hidden_mapping_in(encoder.embeddings(input_ids=ids_BT))


def parts(layer: Model) -> LayerParts:
    """No norm closes one layer alone."""
    own = layer.attention
    return LayerParts(
        to_heads=(own.query, own.key, own.value), from_heads=own.dense,
        to_units=(layer.ffn,), from_units=layer.ffn_output,
        norms=(own.LayerNorm, layer.full_layer_layer_norm), closing_norm=None,
    )  # fmt: skip


def qkv(layer: Model, previous_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The attention reads the layer below as it is."""
    own = layer.attention
    return own.query(previous_BTD), own.key(previous_BTD), own.value(previous_BTD)


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """As wide as the tables."""
    own = model.predictions
    return own.LayerNorm(own.activation(own.dense(hidden_ND)))


def scoring(model: Model) -> ScoringHead:
    """The pooler is a map of the encoder."""
    return ScoringHead(model.base_model.pooler, model.base_model.pooler_activation, model.classifier)


ALBERT = replace(
    BERT, facts=facts, layers="encoder.albert_layer_groups.0.albert_layers", one_layer=True, embeddings=embeddings,
    embed=embed, parts=parts, qkv=qkv, head_marker="predictions.dense.weight", head_words=head_words,
    scoring=scoring, for_reading=None,
)  # fmt: skip
