"""MPNet (transformers/models/mpnet/modeling_mpnet.py, arXiv:2004.09297): BERT without types, with a relative bias.

All layers add the same bias to their scores, for each distance and head, from one table of the encoder. Positions are
counted from row 2 whatever the padding token of the config is.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from spaces.errors import SpecError
from spaces.students.architecture import Parameters, StudentArchitecture, TeacherFacts
from trainables.models.families.bert import BertFacts
from trainables.models.families.distilbert import embeddings
from trainables.models.families.roberta import ROBERTA
from trainables.models.family import Config, LayerParts, Model, ReadFacts, SharedParts

PADDING = 1
"""The id of the padding token, as it stands in the code of the model."""


@dataclass(frozen=True)
class MpnetFacts(BertFacts):
    """Counts of BERT and of the bias of distances."""

    distances: int = 32

    def parameters(self, architecture: StudentArchitecture, teacher: TeacherFacts) -> Parameters:
        """BERT's, and a number for each kind of distance and head."""
        counts = super().parameters(architecture, teacher)
        return replace(counts, layers=counts.layers + self.distances * architecture.num_heads)


def facts(config: Config) -> MpnetFacts:
    """The rows of padding and of what stands before it are not used."""
    return MpnetFacts(config.model_type, position_offset=PADDING + 1, distances=config.relative_attention_num_buckets)


def shared(encoder: Model) -> SharedParts:
    """The bias of distances."""
    return SharedParts(of_heads=(encoder.encoder.relative_attention_bias,))


def parts(layer: Model) -> LayerParts:
    """Queries, keys and values are three maps."""
    own, norm = layer.attention.attn, layer.output.LayerNorm
    return LayerParts(
        to_heads=(own.q, own.k, own.v), from_heads=own.o,
        to_units=(layer.intermediate.dense,), from_units=layer.output.dense,
        norms=(layer.attention.LayerNorm, norm), closing_norm=norm,
    )  # fmt: skip


def qkv(layer: Model, previous_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The attention reads the layer below as it is."""
    own = layer.attention.attn
    return own.q(previous_BTD), own.k(previous_BTD), own.v(previous_BTD)


def for_reading(read: ReadFacts) -> dict[str, int]:
    """Raises SpecError unless the padding token has the id that the code of MPNet takes for it."""
    if read.pad_token_id != PADDING:
        raise SpecError(
            [f"MPNet takes token {PADDING} for padding whatever its config says; the teacher's is {read.pad_token_id}"]
        )
    return {"max_position_embeddings": read.positions + PADDING + 1}


MPNET = replace(
    ROBERTA, facts=facts, embeddings=embeddings, shared=shared, parts=parts, qkv=qkv, has_types=False,
    for_reading=for_reading,
)  # fmt: skip
