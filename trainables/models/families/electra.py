"""ELECTRA (transformers/models/electra/modeling_electra.py, arXiv:2003.10555): BERT, with factorised embeddings.

Where `embedding_size` is not the width of the layers, a map takes the embeddings into the stream; a student keeps the
tables as they are and has its own map. Generators have a masked-LM head, as wide as the embeddings; discriminators,
which most checkpoints are, have none.
"""

from dataclasses import dataclass, replace

from torch import Tensor
from transformers import ElectraConfig

from spaces.students.architecture import Parameters, StudentArchitecture, TeacherFacts
from trainables.models.families.bert import BERT, BertFacts
from trainables.models.families.bert import embeddings as bert_embeddings
from trainables.models.families.bert import for_reading as bert_reading
from trainables.models.family import Config, EmbeddingParts, Model, ReadFacts, ScoringHead


@dataclass(frozen=True)
class ElectraFacts(BertFacts):
    """Counts of BERT, with tables of their own width."""

    embedding_size: int | None = None
    """None: that of the layers, of teacher and student alike."""

    def problems(self, architecture: StudentArchitecture) -> list[str]:
        """A model of the embeddings' width would be built without the map that the others have."""
        size = self.embedding_size
        if size is None or architecture.hidden_size != size:
            return []
        return [
            f"a student of {self.name} cannot be as wide as its embeddings ({size}), for the map from these to the "
            f"layers would be left out ({architecture.name}); near and legal: {size * 3 // 4} or {size * 5 // 4}"
        ]

    def parameters(self, architecture: StudentArchitecture, teacher: TeacherFacts) -> Parameters:
        """With e = embedding size and d = hidden size, where they differ: the tables and their norm are of e, and a
        d x e map follows. The head: an e x d map, a norm of e and a bias for each word.
        """
        counts, size = super().parameters(architecture, teacher), self.embedding_size
        if size is None:
            return counts
        width = architecture.hidden_size
        return replace(
            counts, embeddings=self.rows(teacher) * size + 2 * size + width * size + width,
            lm_head=size * width + size + 2 * size + teacher.vocab_size,
        )  # fmt: skip

    def flops_per_token(self, architecture: StudentArchitecture, sequence_length: int) -> int:
        """BERT's, and 2 e d for the map into the stream."""
        into = 2 * (self.embedding_size or 0) * architecture.hidden_size
        return super().flops_per_token(architecture, sequence_length) + into


def facts(config: Config) -> ElectraFacts:
    """Positions are counted from row 0."""
    size = config.embedding_size
    return ElectraFacts(config.model_type, embedding_size=None if size == config.hidden_size else size)


def fit_config(config: Config, before: StudentArchitecture) -> None:
    """Embeddings that were as wide as the layers stay so."""
    if config.embedding_size == before.hidden_size:
        config.embedding_size = config.hidden_size


def embeddings(encoder: Model) -> EmbeddingParts:
    """BERT's, and the map into the stream."""
    return replace(bert_embeddings(encoder), into_stream=getattr(encoder, "embeddings_project", None))


def embed(encoder: Model, ids_BT: Tensor) -> Tensor:
    """The layers read what the map makes."""
    sums = encoder.embeddings(input_ids=ids_BT)
    return encoder.embeddings_project(sums) if hasattr(encoder, "embeddings_project") else sums


def for_reading(read: ReadFacts) -> dict[str, int]:
    """BERT's, with embeddings as wide as the layers."""
    width = ElectraConfig().hidden_size
    return {**bert_reading(read), "embedding_size": width, "hidden_size": width}


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """The steps before the decoder are a module."""
    return model.generator_predictions(hidden_ND)


def scoring(model: Model) -> ScoringHead:
    """The head brings its activation."""
    head = model.classifier
    return ScoringHead(head.dense, head.activation, head.out_proj)


ELECTRA = replace(
    BERT, facts=facts, fit_config=fit_config, embeddings=embeddings, embed=embed,
    head_marker="generator_predictions.dense.weight", head_words=head_words, has_pooler=False, scoring=scoring,
    for_reading=for_reading,
)  # fmt: skip
