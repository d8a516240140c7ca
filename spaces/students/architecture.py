"""The student's shape: its rules, its exact size and its exact cost, without building a model.

Parameters are counted as transformers lays the four encoder families out (modeling_bert.py, modeling_roberta.py,
modeling_xlm_roberta.py, modeling_distilbert.py), so that size is known before a trial starts.

Named shapes: MiniLM (arXiv:2002.10957), DistilBERT (arXiv:1910.01108), TinyBERT (arXiv:1909.10351), the small BERTs of
Turc et al. (arXiv:1908.08962), and 4x576/768 of Udagawa et al. (arXiv:2310.08797).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from spaces.errors import SpecError, nearest

SHAPE_PATTERN = re.compile(r"(?P<layers>\d+)x(?P<hidden>\d+)(?:/(?P<intermediate>\d+))?(?:h(?P<heads>\d+))?")


def divisors(number: int) -> list[int]:
    """All divisors of a positive number, ascending."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def default_num_heads(hidden_size: int) -> int:
    """Heads of size 64 when 64 divides the width, else of size 32, else of the divisor nearest to 64."""
    if hidden_size < 1:
        return 1
    for head_size in (64, 32):
        if hidden_size % head_size == 0:
            return hidden_size // head_size
    return hidden_size // min(divisors(hidden_size), key=lambda size: abs(size - 64))


def parse_shape(text: str) -> "StudentArchitecture":
    """Read "LxD", "LxD/F" or "LxD/FhN": layers, hidden size, intermediate size F (else 4 D), attention heads N.

    A named shape (SHAPES) gives what is left out; otherwise F = 4 D and N is `default_num_heads(D)`.
    """
    match = SHAPE_PATTERN.fullmatch(text.strip().lower())
    if match is None:
        examples = "such as '4x256', '4x576/768' (intermediate size 768) or '4x256h8' (8 attention heads)"
        raise SpecError([f"shape {text!r} is not LAYERSxHIDDEN, {examples}.{nearest(text, SHAPES)}"])
    layers, hidden = int(match["layers"]), int(match["hidden"])
    plain = f"{layers}x{hidden}"
    shape = SHAPES.get(plain) or StudentArchitecture(layers, hidden, default_num_heads(hidden), 4 * hidden)
    if match["intermediate"]:
        wide = int(match["intermediate"])
        shape = SHAPES.get(f"{plain}/{wide}") or replace(shape, intermediate_size=wide)
    if match["heads"]:
        shape = replace(shape, num_heads=int(match["heads"]))
    if problems := shape.problems():
        raise SpecError([f"shape {text!r}: {problem}" for problem in problems])
    return shape


def architecture_of(config: Mapping[str, Any]) -> "StudentArchitecture":
    """The shape a trial's configuration asks for."""
    return StudentArchitecture(
        config["num_layers"], config["hidden_size"], config["num_heads"], config["intermediate_size"]
    )


def count_parameters(
    architecture: "StudentArchitecture", teacher: "TeacherFacts", *, embeddings: bool = True, lm_head: bool = False
) -> int:
    """Parameters of a student of this shape with the teacher's family, vocabulary and positions.

    With d = hidden size, f = intermediate size, a layer has 4 (d^2 + d) for Q, K, V and the output projection,
    2 d f + f + d for the feed-forward block and 4 d for two LayerNorms. The embeddings are (vocabulary + positions +
    types) d and one LayerNorm, 2 d. The masked-LM head adds a d x d transform with LayerNorm and a bias per word; its
    matrix is tied to the word embeddings, hence free. The pooler is never built.
    """
    family = FAMILIES[teacher.family]
    width, wide = architecture.hidden_size, architecture.intermediate_size
    layer = 4 * (width * width + width) + 2 * width * wide + wide + width + 4 * width
    total = architecture.num_layers * layer
    if embeddings:
        types = teacher.type_vocab_size if family.has_type_embeddings else 0
        total += (teacher.vocab_size + teacher.max_positions + family.position_offset + types) * width + 2 * width
    if lm_head:
        total += width * width + width + 2 * width + teacher.vocab_size
    return total


def flops_per_token(architecture: "StudentArchitecture", sequence_length: int) -> int:
    """FLOPs of the encoder's forward pass per token of a full sequence; a multiply-add counts as 2.

    Per layer 8 d^2 (Q, K, V, output projection) + 4 d f (feed-forward) + 4 T d (scores and weighted sum over T tokens).
    Lookups, LayerNorm, softmax, activations and the masked-LM head are not counted.
    """
    width, wide = architecture.hidden_size, architecture.intermediate_size
    return architecture.num_layers * (8 * width * width + 4 * width * wide + 4 * sequence_length * width)


@dataclass(frozen=True)
class StudentArchitecture:
    """Layers, width, attention heads and feed-forward width, named as in transformers configs."""

    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int

    def problems(self) -> list[str]:
        """What keeps this shape from being built; empty when nothing does."""
        found = [f"{field} must be at least 1, got {value}" for field, value in vars(self).items() if value < 1]
        if not found and self.hidden_size % self.num_heads:
            legal = min(divisors(self.hidden_size), key=lambda heads: abs(heads - self.num_heads))
            found.append(
                f"num_heads must divide hidden_size, got {self.num_heads} heads for width {self.hidden_size}; "
                f"nearest legal: {legal}"
            )
        return found

    @property
    def name(self) -> str:
        """The shortest text that `parse_shape` reads back as this shape, such as "4x256" or "4x576/768"."""
        plain = f"{self.num_layers}x{self.hidden_size}"
        wide, heads = f"/{self.intermediate_size}", f"h{self.num_heads}"
        if self.problems():
            return plain + wide + heads
        texts = (plain, plain + wide, plain + heads, plain + wide + heads)
        return next(text for text in texts if parse_shape(text) == self)


@dataclass(frozen=True)
class Family:
    """What differs between the encoder families in size and in position numbering."""

    position_offset: int
    """Rows of the position table before the first usable one (RoBERTa starts at padding_idx + 1)."""
    has_type_embeddings: bool


@dataclass(frozen=True)
class TeacherFacts:
    """What the rest of the tool may know about a teacher without loading its weights."""

    name: str
    family: str
    architecture: StudentArchitecture
    vocab_size: int
    max_positions: int
    """Usable sequence length (the position table less the family's offset)."""
    type_vocab_size: int
    has_lm_head: bool
    """Whether the weights hold a trained masked-LM head."""
    digest: str


FAMILIES: dict[str, Family] = {
    "bert": Family(position_offset=0, has_type_embeddings=True),
    "roberta": Family(position_offset=2, has_type_embeddings=True),
    "xlm-roberta": Family(position_offset=2, has_type_embeddings=True),
    "distilbert": Family(position_offset=0, has_type_embeddings=False),
}

SHAPES: dict[str, StudentArchitecture] = {
    "12x384": StudentArchitecture(12, 384, 12, 1536),
    "6x768": StudentArchitecture(6, 768, 12, 3072),
    "6x384": StudentArchitecture(6, 384, 12, 1536),
    "4x576/768": StudentArchitecture(4, 576, 12, 768),
    "4x312": StudentArchitecture(4, 312, 12, 1200),
    "3x384": StudentArchitecture(3, 384, 12, 1536),
    "4x256": StudentArchitecture(4, 256, 4, 1024),
    "2x128": StudentArchitecture(2, 128, 2, 512),
    "3x192": StudentArchitecture(3, 192, 12, 768),
    "6x192": StudentArchitecture(6, 192, 12, 768),
}
