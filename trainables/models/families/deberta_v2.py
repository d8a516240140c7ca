"""DeBERTa v2 and v3 (transformers/models/deberta_v2/modeling_deberta_v2.py, arXiv:2006.03654, arXiv:2111.09543).

BERT whose scores also compare words with distances: a table of the encoder has a row for each distance, and the maps to
queries and keys read it as they read the stream. Q, K and V here are those of the words; the terms of the distances are
no part of the relations that `mha` compares.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from transformers.activations import ACT2FN

from spaces.errors import SpecError
from spaces.students.architecture import Parameters, StudentArchitecture, TeacherFacts
from trainables.models.families.bert import BERT, BertFacts, parts, qkv
from trainables.models.family import Config, EmbeddingParts, Model, ReadFacts, ScoringHead, SharedParts

MAPS = ("query_proj", "key_proj", "value_proj")


@dataclass(frozen=True)
class DebertaFacts(BertFacts):
    """Counts of BERT and of the table of distances."""

    positions_in_words: bool = False
    """Whether embeddings have positions as BERT's do."""
    distances: int = 512
    """Rows of the table: for each bucket one to the left and one to the right."""
    distances_norm: bool = True
    terms: int = 2
    """Which of words to distances and distances to words are in the scores."""

    def rows(self, teacher: TeacherFacts) -> int:
        """BERT's, without those of positions that are in the scores alone."""
        return super().rows(teacher) - (0 if self.positions_in_words else teacher.max_positions)

    def parameters(self, architecture: StudentArchitecture, teacher: TeacherFacts) -> Parameters:
        """BERT's, a row of d for each distance, and their norm."""
        counts, width = super().parameters(architecture, teacher), architecture.hidden_size
        return replace(counts, layers=counts.layers + self.distances * width + self.distances_norm * 2 * width)

    def flops_per_token(self, architecture: StudentArchitecture, sequence_length: int) -> int:
        """BERT's, and in each layer for each of the terms 2 n d for n distances, and their map, 2 n d^2 a sequence."""
        width, rows = architecture.hidden_size, self.terms * self.distances
        mapped = round(2 * rows * width * width / sequence_length)
        return super().flops_per_token(architecture, sequence_length) + architecture.num_layers * (
            2 * rows * width + mapped
        )


def facts(config: Config) -> DebertaFacts:
    """Raises SpecError for layouts of which a student cannot be made."""
    size, heads = config.hidden_size, config.num_attention_heads
    unlike = {
        "relative_attention": (True, "positions must be in the scores"),
        "share_att_key": (True, "distances must be read by the maps of queries and keys, as in DeBERTa v3"),
        "conv_kernel_size": (0, "a convolution after the first layer belongs to no layer that a student could keep"),
        "embedding_size": (size, "embeddings must be as wide as the layers"),
        "attention_head_size": (size // heads, "heads must share the width of the layers"),
    }
    read = {name: getattr(config, name, False if wanted is True else wanted) for name, (wanted, _) in unlike.items()}
    problems = [
        f"{config.model_type} with {name} = {read[name]} cannot be distilled: {why} ({name} = {wanted})"
        for name, (wanted, why) in unlike.items()
        if read[name] != wanted
    ]
    if problems:
        raise SpecError(problems)
    most = config.max_relative_positions if config.max_relative_positions > 0 else config.max_position_embeddings
    buckets = getattr(config, "position_buckets", -1)
    return DebertaFacts(
        config.model_type, positions_in_words=config.position_biased_input,
        distances=2 * (buckets if buckets > 0 else most),
        distances_norm="layer_norm" in getattr(config, "norm_rel_ebd", "none").lower(),
        terms=len({"c2p", "p2c"} & set(config.pos_att_type or ())),
    )  # fmt: skip


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words, and positions and types where there are any."""
    own = encoder.embeddings
    return EmbeddingParts(own.word_embeddings, own.LayerNorm, own.position_embeddings, own.token_type_embeddings)


def shared(encoder: Model) -> SharedParts:
    """The distances and their norm."""
    own = encoder.encoder
    return SharedParts(tables=(own.rel_embeddings,), norms=(own.LayerNorm,) if hasattr(own, "LayerNorm") else ())


def fit_config(config: Config, before: StudentArchitecture) -> None:
    """The pooler of a classifier is as wide as the layers."""
    config.pooler_hidden_size = config.hidden_size


def scoring(model: Model) -> ScoringHead:
    """The pooler stands beside the encoder, with the activation in the config."""
    return ScoringHead(model.pooler.dense, ACT2FN[model.config.pooler_hidden_act], model.classifier)


def for_reading(read: ReadFacts) -> dict[str, Any]:
    """As DeBERTa v3 has it, but for as many types as the teacher has."""
    return {
        "max_position_embeddings": read.positions, "type_vocab_size": read.types, "position_biased_input": False,
        "relative_attention": True, "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
    }  # fmt: skip


DEBERTA_V2 = replace(
    BERT, facts=facts, embeddings=embeddings, shared=shared, has_pooler=False, for_reading=for_reading,
    parts=partial(parts, maps=MAPS), qkv=partial(qkv, maps=MAPS), fit_config=fit_config, scoring=scoring,
)  # fmt: skip
