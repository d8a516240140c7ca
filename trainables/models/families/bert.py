"""BERT (transformers/models/bert/modeling_bert.py): norms after the sublayers, positions and types from tables."""

from dataclasses import dataclass

from torch import Tensor

from spaces.students.architecture import Attention, Parameters, StudentArchitecture, TeacherFacts
from trainables.models.family import Config, EmbeddingParts, Family, LayerParts, Model, ReadFacts, ScoringHead


@dataclass(frozen=True)
class BertFacts:
    """Counts of BERT and of what is laid out as BERT."""

    name: str
    position_offset: int = 0

    def attention_facts(self, architecture: StudentArchitecture) -> Attention:
        """Every layer sees everything."""
        return Attention()

    def problems(self, architecture: StudentArchitecture) -> list[str]:
        """Any shape can be built."""
        return []

    def rows(self, teacher: TeacherFacts) -> int:
        """Of all embedding tables."""
        return teacher.vocab_size + teacher.max_positions + self.position_offset + teacher.type_vocab_size

    def parameters(self, architecture: StudentArchitecture, teacher: TeacherFacts) -> Parameters:
        """With d = hidden size and f = intermediate size, all maps with a bias and LayerNorms of 2 d.

        Embeddings: (vocabulary + positions + types) d and a norm. A layer: four d x d maps, two d x f maps, two norms.
        The head: a d x d map, a norm and a bias for each word.
        """
        width, wide = architecture.hidden_size, architecture.intermediate_size
        layer = 4 * (width * width + width) + 2 * width * wide + wide + width + 4 * width
        return Parameters(
            embeddings=self.rows(teacher) * width + 2 * width,
            layers=architecture.num_layers * layer,
            lm_head=width * width + width + 2 * width + teacher.vocab_size,
        )

    def flops_per_token(self, architecture: StudentArchitecture, sequence_length: int) -> int:
        """A layer: 8 d^2 for Q, K, V and output, 4 d f for the feed-forward maps, 4 T d for scores and sums."""
        width, wide = architecture.hidden_size, architecture.intermediate_size
        return architecture.num_layers * (8 * width * width + 4 * width * wide + 4 * sequence_length * width)


def facts(config: Config) -> BertFacts:
    """Positions are counted from row 0."""
    return BertFacts(config.model_type)


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words, positions and types."""
    own = encoder.embeddings
    return EmbeddingParts(own.word_embeddings, own.LayerNorm, own.position_embeddings, own.token_type_embeddings)


def embed(encoder: Model, ids_BT: Tensor) -> Tensor:
    """The embeddings are a module of their own."""
    return encoder.embeddings(input_ids=ids_BT)


MAPS = ("query", "key", "value")


def parts(layer: Model, maps: tuple[str, ...] = MAPS) -> LayerParts:
    """Queries, keys and values are three maps, under these names."""
    norm = layer.output.LayerNorm
    return LayerParts(
        to_heads=tuple(getattr(layer.attention.self, name) for name in maps), from_heads=layer.attention.output.dense,
        to_units=(layer.intermediate.dense,), from_units=layer.output.dense,
        norms=(layer.attention.output.LayerNorm, norm), closing_norm=norm,
    )  # fmt: skip


def qkv(layer: Model, previous_BTD: Tensor, maps: tuple[str, ...] = MAPS) -> tuple[Tensor, Tensor, Tensor]:
    """The attention reads the layer below as it is."""
    query_BTD, key_BTD, value_BTD = (getattr(layer.attention.self, name)(previous_BTD) for name in maps)
    return query_BTD, key_BTD, value_BTD


def for_reading(read: ReadFacts) -> dict[str, int]:
    """Positions from row 0; two types where the teacher has none, for tokenizers that number the texts of a pair."""
    return {"max_position_embeddings": read.positions, "type_vocab_size": read.types or 2}


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """BERT has the steps before the decoder as a module."""
    return model.cls.predictions.transform(hidden_ND)


def scoring(model: Model) -> ScoringHead:
    """The pooler is part of the encoder."""
    pooler = model.base_model.pooler
    return ScoringHead(pooler.dense, pooler.activation, model.classifier)


BERT = Family(
    facts=facts, layers="encoder.layer", embeddings=embeddings, embed=embed, parts=parts, qkv=qkv,
    head_marker="cls.predictions.transform.dense.weight", head_words=head_words, scoring=scoring,
    for_reading=for_reading,
)  # fmt: skip
