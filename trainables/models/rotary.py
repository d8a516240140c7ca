"""Counts of encoders whose positions are rotations of queries and keys: data that each family's file fills in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spaces.students.architecture import Parameters, StudentArchitecture, TeacherFacts, divisors

LOCAL = "sliding_attention"
"""The type of a layer that sees a window of neighbours, as configs name it."""


@dataclass(frozen=True)
class HeadCounts:
    """Parameters of a masked-LM head, for width d and a vocabulary of V."""

    maps: int = 1
    """Of d x `inner`."""
    inner: int | None = None
    """None: d."""
    vectors: int = 3
    """Of d: the bias of a map, gain and bias of a norm."""
    words: int = 1
    """Of V: the bias of the decoder."""
    tied: bool = True
    """Whether the matrix is that of the word embeddings; it counts otherwise."""


@dataclass(frozen=True)
class RotaryFacts:
    """Counts of a family with rotary positions."""

    name: str
    gated: bool
    norm_vectors: int
    """Vectors of d in a norm: 1 of gains alone, 2 with biases."""
    attention_bias: bool
    units_bias: bool
    """Of the maps to the feed-forward units."""
    output_bias: bool
    """Of the map from them."""
    head: HeadCounts
    embedding_norm: bool = True
    final_norm: bool = False
    layer_norms: int = 2
    """Norms over the stream in a layer."""
    first_layer_lacks: int = 0
    """Of these, how many the first layer does not have."""
    head_norms: bool = False
    """Whether the queries and the keys of a head have a norm of their own."""
    groups: int = 1
    """Query heads that share a head of keys and values."""
    layer_types: tuple[str, ...] = ()
    """Of the teacher, bottom up; empty where all layers see everything."""
    window: int = 0
    """How many tokens a token of a local layer sees, itself included."""
    position_offset: int = 0

    def windows(self, num_layers: int) -> Mapping[int, int]:
        """Of the local layers."""
        kinds = types_of_depth(self.layer_types or ("",), num_layers)
        return {layer: self.window for layer, kind in enumerate(kinds, 1) if kind == LOCAL}

    def problems(self, architecture: StudentArchitecture) -> list[str]:
        """Rotations turn pairs of units, and heads of keys and values serve equally many heads of queries."""
        width, heads = architecture.hidden_size, architecture.num_heads
        even = [each for each in divisors(width) if width // each % 2 == 0]
        legal = [each for each in even if each % self.groups == 0]
        if heads in legal:
            return []
        near = min(legal, key=lambda each: abs(each - heads), default=None)
        instead = f"nearest legal: {near} heads" if near else f"the width must be even and divisible by {self.groups}"
        if width // heads % 2:
            rule, found = "must be of even size", width // heads
        else:
            rule, found = f"come in groups of {self.groups} that share keys and values", heads
        return [f"attention heads of {self.name} {rule}, got {found} ({architecture.name}); {instead}"]

    def parameters(self, architecture: StudentArchitecture, teacher: TeacherFacts) -> Parameters:
        """With d = hidden size, f = intermediate size, k = d / groups; biases where the config has them.

        Embeddings: words and types d, and a norm where there is one. A layer: d x d maps to queries and from the heads,
        d x k maps to keys and values, two d x f maps, or three where units are gated, two norms or four, and in some
        families two of the size of a head. The head: see `HeadCounts`.
        """
        width, wide, head = architecture.hidden_size, architecture.intermediate_size, self.head
        keys, norm, maps = width // self.groups, self.norm_vectors * width, 1 + self.gated
        layer = 2 * width * width + 2 * width * keys + (maps + 1) * width * wide + self.layer_norms * norm
        layer += self.head_norms * 2 * architecture.head_size
        layer += self.attention_bias * (2 * width + 2 * keys) + self.units_bias * maps * wide + self.output_bias * width
        return Parameters(
            embeddings=(teacher.vocab_size + teacher.type_vocab_size) * width + self.embedding_norm * norm,
            layers=architecture.num_layers * layer + (self.final_norm - self.first_layer_lacks) * norm,
            lm_head=width * (head.maps * (head.inner or width) + head.vectors)
            + teacher.vocab_size * (head.words + (not head.tied) * width),
        )

    def flops_per_token(self, architecture: StudentArchitecture, sequence_length: int) -> int:
        """A layer: 4 d^2 + 4 d k for Q, K, V and output, 4 d f or gated 6 d f for the feed-forward maps, 4 T d for
        scores and sums.

        In a local layer T is its window at most, which is what its result needs; kernels that know of no windows
        compute the whole and mask it.
        """
        width, wide = architecture.hidden_size, architecture.intermediate_size
        layer = 4 * width * width + 4 * width * (width // self.groups) + 2 * (2 + self.gated) * width * wide
        windows, depth = self.windows(architecture.num_layers), architecture.num_layers
        seen = sum(min(sequence_length, windows.get(number, sequence_length)) for number in range(1, depth + 1))
        return depth * layer + 4 * seen * width


def types_of_depth(layer_types: Sequence[str], num_layers: int) -> list[str]:
    """The types of the first layers, which come again in a deeper model."""
    return [layer_types[number % len(layer_types)] for number in range(num_layers)]
