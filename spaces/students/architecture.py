"""The student's shape: its rules, its exact size and its exact cost, without building a model.

How a family lays its parameters out is known to its file (trainables/models/families); what is counted here asks the
facts that a teacher brings with it, so that size and cost are known before a trial starts.

Named shapes: MiniLM (arXiv:2002.10957), DistilBERT (arXiv:1910.01108), TinyBERT (arXiv:1909.10351), the small BERTs of
Turc et al. (arXiv:1908.08962), and 4x576/768 of Udagawa et al. (arXiv:2310.08797).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from spaces.errors import SpecError, nearest

SHAPE_PATTERN = re.compile(
    r"(?P<layers>\d+)x(?P<hidden>\d+)(?:/(?P<intermediate>\d+))?(?:h(?P<heads>\d+))?(?: +(?P<family>[a-z][\w-]*))?"
)
SHAPE_KEYS = ("num_layers", "hidden_size", "num_heads", "intermediate_size")
"""The numbers of a shape, as configurations and tables name them."""


def divisors(number: int) -> list[int]:
    """All divisors of a positive number, ascending."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def default_num_heads(hidden_size: int, head_size: int | None = None) -> int:
    """Heads of the teacher's size, where that is given and divides the width; else of size 64, else of size 32, else of
    the divisor nearest to 64."""
    if hidden_size < 1:
        return 1
    for size in (head_size, 64, 32):
        if size and hidden_size % size == 0:
            return hidden_size // size
    return hidden_size // min(divisors(hidden_size), key=lambda size: abs(size - 64))


def parse_shape(text: str, head_size: int | None = None) -> "StudentArchitecture":
    """Read "LxD", "LxD/F" or "LxD/FhN": layers, hidden size, intermediate size F (else 4 D), attention heads N.
    A family other than the teacher's may follow: "3x384 modernbert".

    head_size: the teacher's. Where it divides D, a shape that leaves N out has D / head_size heads, so that whole heads
    can be copied. A named shape (SHAPES) gives what is left out else; otherwise F = 4 D and N is
    `default_num_heads(D)`.
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
    elif head_size and hidden % head_size == 0:
        shape = replace(shape, num_heads=hidden // head_size)
    shape = replace(shape, family=match["family"])
    if problems := shape.problems():
        raise SpecError([f"shape {text!r}: {problem}" for problem in problems])
    return shape


def canonical_shape(text: str) -> str:
    """The one spelling of a shape's text. Heads stay where they are written: what is left out, the teacher decides.

    Raises SpecError for a text with a family, which has an axis of its own.
    """
    written = parse_shape(text)
    if written.family is not None:
        own = replace(written, family=None).name
        raise SpecError(
            [f"shape {text!r}: families stand in an axis of their own: {own!r}, family = {written.family!r}"]
        )
    plain, mark, _ = text.strip().lower().partition("h")
    return parse_shape(plain).name + (f"h{written.num_heads}" if mark else "")


def architecture_of(config: Mapping[str, Any]) -> "StudentArchitecture":
    """The shape a trial's configuration asks for."""
    layers, width, heads, wide = (config[key] for key in SHAPE_KEYS)
    return StudentArchitecture(layers, width, heads, wide, config.get("family"))


def outline(config: Mapping[str, Any]) -> str:
    """Layers and width of a configuration, and its family where that is not the teacher's: a name for narrow places."""
    size = f"{config['num_layers']}x{config['hidden_size']}"
    return f"{size} {config['family']}" if config.get("family") else size


def count_parameters(
    architecture: "StudentArchitecture", teacher: "TeacherFacts", *, embeddings: bool = True, lm_head: bool = False
) -> int:
    """Parameters of a student of this shape with the teacher's vocabulary and positions, in its own family.

    The masked-LM head's matrix is tied to the word embeddings, hence free. The pooler is never built.
    """
    own = teacher.as_family(architecture.family)
    parts = own.family.parameters(architecture, own)
    return parts.layers + embeddings * parts.embeddings + lm_head * parts.lm_head


def flops_per_token(architecture: "StudentArchitecture", teacher: "TeacherFacts", sequence_length: int) -> int:
    """FLOPs of the encoder's forward pass per token of a full sequence; a multiply-add counts as 2.

    Matrix products are counted: maps, attention scores and weighted sums. Lookups, norms, softmax, activations and the
    masked-LM head are not.
    """
    return teacher.as_family(architecture.family).family.flops_per_token(architecture, sequence_length)


@dataclass(frozen=True)
class StudentArchitecture:
    """Layers, width, attention heads and feed-forward width, named as in transformers configs; and the family."""

    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    family: str | None = None
    """Where it is not the teacher's; None: the teacher's."""

    def problems(self) -> list[str]:
        """What keeps this shape from being built; empty when nothing does."""
        found = [f"{key} must be at least 1, got {value}" for key in SHAPE_KEYS if (value := getattr(self, key)) < 1]
        if not found and self.hidden_size % self.num_heads:
            legal = min(divisors(self.hidden_size), key=lambda heads: abs(heads - self.num_heads))
            found.append(
                f"num_heads must divide hidden_size, got {self.num_heads} heads for width {self.hidden_size}; "
                f"nearest legal: {legal}"
            )
        return found

    @property
    def head_size(self) -> int:
        """Units of an attention head."""
        return self.hidden_size // self.num_heads

    @property
    def name(self) -> str:
        """The shortest text that `parse_shape` reads back as this shape, such as "4x256" or "4x576/768"."""
        plain, family = f"{self.num_layers}x{self.hidden_size}", f" {self.family}" if self.family else ""
        wide, heads = f"/{self.intermediate_size}", f"h{self.num_heads}"
        if self.problems():
            return plain + wide + heads + family
        texts = (each + family for each in (plain, plain + wide, plain + heads, plain + wide + heads))
        return next(text for text in texts if parse_shape(text) == self)


@dataclass(frozen=True)
class Parameters:
    """How many parameters the parts of a model have."""

    embeddings: int
    layers: int
    """All layers, and a norm after the last where there is one."""
    lm_head: int
    """The masked-LM head without its matrix, which is that of the word embeddings."""


@dataclass(frozen=True)
class Attention:
    """What a method has to know of the attention of a model."""

    width: int | None = None
    """Units of all heads of queries together; None: as wide as the layers."""
    windows: Mapping[int, int] = field(default_factory=dict)
    """How many tokens a token sees, itself included, in each layer that sees a window alone; layers from 1."""
    causal: bool = False
    """Whether a token sees those before it and itself only."""

    def width_of(self, hidden_size: int) -> int:
        """Of the queries of layers of this width; keys and values are as wide, counted for each head of queries."""
        return hidden_size if self.width is None else self.width


class FamilyFacts(Protocol):
    """What is known of a teacher's family without a model at hand. A value: it compares and can be pickled."""

    @property
    def name(self) -> str:
        """The family, as `model_type` in a transformers config."""

    @property
    def position_offset(self) -> int:
        """Rows of the position table before the first usable one."""

    def attention_facts(self, architecture: StudentArchitecture) -> Attention:
        """Of a model of this shape."""

    def problems(self, architecture: StudentArchitecture) -> list[str]:
        """What keeps the family from building a shape that is sound in itself; empty when nothing does."""

    def parameters(self, architecture: StudentArchitecture, teacher: "TeacherFacts") -> Parameters:
        """Exact counts for a student of this shape with the teacher's vocabulary and positions."""

    def flops_per_token(self, architecture: StudentArchitecture, sequence_length: int) -> int:
        """See `flops_per_token` above."""


class OtherFamilies(Protocol):
    """What a teacher's vocabulary and positions come to in families other than its own. A value, as FamilyFacts."""

    def view(self, teacher: "TeacherFacts", name: str) -> "TeacherFacts":
        """The teacher with the facts of that family in place of its own: what its students of it are counted by.

        Raises SpecError for a family that is not known, or of which no student of this teacher can be made.
        """


@dataclass(frozen=True)
class EmbeddingFacts:
    """How a teacher makes one vector of a text, as far as its students depend on it."""

    pooling: tuple[str, ...] = ("mean",)
    """Side by side."""
    width: int | None = None
    """Of its embeddings; None: as wide as its layers."""
    skipped: int = 0
    """Tokens at the start of each text that are not pooled."""

    def width_of(self, hidden_size: int) -> int:
        """Values of an embedding, for layers of this width."""
        return self.width or hidden_size * len(self.pooling)


@dataclass(frozen=True)
class TeacherFacts:
    """What the rest of the tool may know about a teacher without loading its weights."""

    name: str
    family: FamilyFacts
    architecture: StudentArchitecture
    vocab_size: int
    max_positions: int
    """Usable sequence length (the position table less the family's offset)."""
    type_vocab_size: int
    has_lm_head: bool
    """Whether the weights hold a trained masked-LM head."""
    digest: str
    embedding: EmbeddingFacts = EmbeddingFacts()
    masked_lm: bool = True
    """Whether there are models of the family with a masked-LM head at all."""
    labels: int = 0
    """Outputs of its classification head, where it has one that its family's students can have as well."""
    scored_state: str = "cls"
    """The pooling that such a head reads."""
    others: OtherFamilies | None = None
    """None: students are of the teacher's family, as those of a cross-encoder."""
    reworded: "TeacherFacts | None" = None
    """The same over the vocabulary of its students, where they have a tokenizer of their own."""

    @property
    def source(self) -> "TeacherFacts":
        """What students start from: this, or this over their own vocabulary."""
        return self.reworded or self

    @property
    def itself(self) -> "TeacherFacts":
        """What the teacher alone is counted by."""
        return replace(self, reworded=None)

    @property
    def scores_pairs(self) -> bool:
        """Whether it is a cross-encoder, which gives two texts one score; so are its students then."""
        return self.labels == 1

    @property
    def classifies(self) -> bool:
        """Whether it is a classifier, which gives a text one of several classes; so are its students then."""
        return self.labels > 1

    def as_family(self, name: str | None) -> "TeacherFacts":
        """What students of a family are counted by; None: the teacher's own. Raises SpecError as OtherFamilies does.

        They have the vocabulary of students, where that is not the teacher's.
        """
        if self.reworded is not None:
            return self.reworded.as_family(name)
        if name is None or name == self.family.name:
            return self
        if self.others is None:
            why = ", for it has the teacher's head over pairs" if self.scores_pairs else ""
            raise SpecError([f"a student of {self.family.name} cannot be of another family, got {name!r}{why}"])
        return self.others.view(self, name)


def embedding_width(config: Mapping[str, Any], teacher: TeacherFacts) -> int:
    """How many values a student's embedding of a text has: those that its configuration keeps of the teacher's.

    A narrower student that hands over no map has its own states.
    """
    facts, full = teacher.embedding, teacher.architecture.hidden_size
    theirs = facts.width_of(full)
    kept = int(config.get("embedding_size", theirs))
    if config["hidden_size"] == full or kept < theirs or config.get("embed_projection") == "kept":
        return kept
    return int(config["hidden_size"]) * len(facts.pooling)


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
