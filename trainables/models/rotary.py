"""Counts of encoders whose positions are rotations of queries and keys: data that each family's file fills in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from spaces.students.architecture import Attention, Parameters, StudentArchitecture, TeacherFacts, divisors

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
    share: Fraction = Fraction(1)
    """Units of all heads of queries together, in parts of the width: a student has as many, whatever its width."""
    groups: int = 1
    """Query heads that share a head of keys and values."""
    causal: bool = False
    """Whether a token sees those before it and itself only."""
    layer_types: tuple[str, ...] = ()
    """Of the teacher, bottom up; empty where all layers see everything."""
    window: int = 0
    """How many tokens a token of a local layer sees, itself included."""
    position_offset: int = 0

    def attention_facts(self, architecture: StudentArchitecture) -> Attention:
        """Heads as wide as their share, and windows in the local layers."""
        kinds = types_of_depth(self.layer_types or ("",), architecture.num_layers)
        windows = {layer: self.window for layer, kind in enumerate(kinds, 1) if kind == LOCAL}
        return Attention(int(self.share * architecture.hidden_size), windows, self.causal)

    def problems(self, architecture: StudentArchitecture) -> list[str]:
        """Rotations turn pairs of units, and heads of keys and values serve equally many heads of queries."""
        width, heads = architecture.hidden_size, architecture.num_heads
        size = self.share * width / heads
        legal = [each for each in divisors(width) if self.share * width / each % 2 == 0 and each % self.groups == 0]
        if heads in legal:
            return []
        near = min(legal, key=lambda each: abs(each - heads), default=None)
        unit = math.lcm(self.groups, (2 * self.groups / self.share).numerator)
        instead = f"nearest legal: {near} heads" if near else f"the width must be divisible by {unit}"
        if size % 2:
            rule, found = "must be of even size", f"{float(size):g}"
        else:
            rule, found = f"come in groups of {self.groups} that share keys and values", str(heads)
        return [f"attention heads of {self.name} {rule}, got {found} ({architecture.name}); {instead}"]

    def parameters(self, architecture: StudentArchitecture, teacher: TeacherFacts) -> Parameters:
        """With d = hidden size, q = share d, k = q / groups, f = intermediate size; biases where the config has them.

        Embeddings: words and types d, and a norm where there is one. A layer: d x q maps to queries and from the heads,
        d x k maps to keys and values, two d x f maps, or three where units are gated, two norms or four, and in some
        families two of the size of a head. The head: see `HeadCounts`.
        """
        width, wide, head = architecture.hidden_size, architecture.intermediate_size, self.head
        queries, norm, maps = int(self.share * width), self.norm_vectors * width, 1 + self.gated
        keys = queries // self.groups
        layer = 2 * width * (queries + keys) + (maps + 1) * width * wide + self.layer_norms * norm
        layer += self.head_norms * 2 * (queries // architecture.num_heads)
        layer += self.attention_bias * (queries + 2 * keys + width)
        layer += self.units_bias * maps * wide + self.output_bias * width
        return Parameters(
            embeddings=(teacher.vocab_size + teacher.type_vocab_size) * width + self.embedding_norm * norm,
            layers=architecture.num_layers * layer + (self.final_norm - self.first_layer_lacks) * norm,
            lm_head=width * (head.maps * (head.inner or width) + head.vectors)
            + teacher.vocab_size * (head.words + (not head.tied) * width),
        )

    def flops_per_token(self, architecture: StudentArchitecture, sequence_length: int) -> int:
        """A layer: 4 d q + 4 d k for Q, K, V and output, 4 d f or gated 6 d f for the feed-forward maps, 4 T q for
        scores and sums.

        In a local layer T is its window at most, which is what its result needs; kernels that know of no windows
        compute the whole and mask it. So they do where a token sees those before it only, and there all T are counted.
        """
        width, wide = architecture.hidden_size, architecture.intermediate_size
        queries, depth = int(self.share * width), architecture.num_layers
        layer = 4 * width * (queries + queries // self.groups) + 2 * (2 + self.gated) * width * wide
        windows = self.attention_facts(architecture).windows
        seen = sum(min(sequence_length, windows.get(number, sequence_length)) for number in range(1, depth + 1))
        return depth * layer + 4 * seen * queries


def share_of_heads(config: Any) -> Fraction:
    """`RotaryFacts.share` of a config that says how large a head is."""
    return Fraction(config.head_dim * config.num_attention_heads, config.hidden_size)


def types_of_depth(layer_types: Sequence[str], num_layers: int) -> list[str]:
    """The types of the first layers, which come again in a deeper model."""
    return [layer_types[number % len(layer_types)] for number in range(num_layers)]
