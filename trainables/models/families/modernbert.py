"""ModernBERT (transformers/models/modernbert/modeling_modernbert.py, arXiv:2412.13663).

Norms stand before the sublayers and after the last layer; the first layer has none before its attention, for it reads
the normalised embeddings. Queries, keys and values are one map, feed-forward units are gated by the second half of
theirs, positions are rotations, and most layers see only a window of neighbours.

A student of fewer layers has the types (global or local, each with its rotations) of the teacher's first layers, and
its layers are copies of teacher layers of the same type, its first layer of the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from spaces.students.architecture import Parameters, StudentArchitecture, TeacherFacts, divisors
from trainables.models.families.bert import embed
from trainables.models.family import Config, EmbeddingParts, Family, LayerParts, Model

LOCAL = "sliding_attention"


@dataclass(frozen=True)
class ModernBertFacts:
    """Counts of ModernBERT and of what is laid out as ModernBERT."""

    name: str
    layer_types: tuple[str, ...]
    """Of the teacher, bottom up."""
    window: int
    """How many tokens a token of a local layer sees, itself included."""
    norm_bias: bool
    attention_bias: bool
    mlp_bias: bool
    classifier_bias: bool
    decoder_bias: bool
    position_offset: int = 0

    def problems(self, architecture: StudentArchitecture) -> list[str]:
        """Rotations turn pairs of units."""
        size = architecture.hidden_size // architecture.num_heads
        if size % 2 == 0:
            return []
        width = architecture.hidden_size
        legal = [heads for heads in divisors(width) if width // heads % 2 == 0]
        nearest = min(legal, key=lambda heads: abs(heads - architecture.num_heads), default=None)
        instead = f"nearest legal: {nearest} heads" if nearest else "the width must be even"
        return [f"attention heads of {self.name} must be of even size, got {size} ({architecture.name}); {instead}"]

    def parameters(self, architecture: StudentArchitecture, teacher: TeacherFacts) -> Parameters:
        """With d = hidden size and f = intermediate size; biases where the config has them, norms of d or 2 d.

        Embeddings: vocabulary d and a norm. A layer: four d x d maps, three d x f maps, two norms; the first has one
        norm less, and one follows the last. The head: a d x d map, a norm and a bias for each word.
        """
        width, wide = architecture.hidden_size, architecture.intermediate_size
        norm = width * (1 + self.norm_bias)
        layer = 4 * width * width + 3 * width * wide + 2 * norm
        layer += self.attention_bias * 4 * width + self.mlp_bias * (2 * wide + width)
        return Parameters(
            embeddings=teacher.vocab_size * width + norm,
            layers=architecture.num_layers * layer,
            lm_head=width * width + self.classifier_bias * width + norm + self.decoder_bias * teacher.vocab_size,
        )

    def flops_per_token(self, architecture: StudentArchitecture, sequence_length: int) -> int:
        """A layer: 8 d^2 for Q, K, V and output, 6 d f for the gated feed-forward maps, 4 T d for scores and sums.

        In a local layer T is its window at most, which is what its result needs; kernels that know of no windows
        compute the whole and mask it.
        """
        width, wide = architecture.hidden_size, architecture.intermediate_size
        total = architecture.num_layers * (8 * width * width + 6 * width * wide)
        for layer_type in types_of_depth(self.layer_types, architecture.num_layers):
            seen = min(sequence_length, self.window) if layer_type == LOCAL else sequence_length
            total += 4 * seen * width
        return total


def facts(config: Config) -> ModernBertFacts:
    """Rotations need no table: positions are counted from 0."""
    return ModernBertFacts(
        config.model_type, tuple(config.layer_types), 2 * (config.local_attention // 2) + 1, config.norm_bias,
        config.attention_bias, config.mlp_bias, config.classifier_bias, config.decoder_bias,
    )  # fmt: skip


def types_of_depth(layer_types: Sequence[str], num_layers: int) -> list[str]:
    """The types of the first layers, which come again in a deeper model."""
    return [layer_types[number % len(layer_types)] for number in range(num_layers)]


def fit_config(config: Config) -> None:
    """transformers builds a model whose types are more than its layers, and refuses to save it."""
    config.layer_types = types_of_depth(config.layer_types, config.num_hidden_layers)


def layer_kinds(config: Config) -> tuple[str, ...]:
    """The first layer is a kind of its own, for its attention reads without a norm."""
    return ("first", *config.layer_types[1:])


def embeddings(encoder: Model) -> EmbeddingParts:
    """Words alone."""
    return EmbeddingParts((encoder.embeddings.tok_embeddings,), encoder.embeddings.norm)


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


MODERNBERT = Family(
    facts=facts, layers="layers", embeddings=embeddings, embed=embed, parts=parts, qkv=qkv,
    final_norm=lambda encoder: encoder.final_norm, fit_config=fit_config, layer_kinds=layer_kinds,
    head_marker="decoder.bias", head_words=head_words,  # a classifier has head.dense too
    has_types=False, has_pooler=False,
)  # fmt: skip
