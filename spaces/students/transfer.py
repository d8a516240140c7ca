"""The transfer methods: what each needs from teacher and student, which axes it is searched over, and its loss.

A trial's method is one name, a weighted sum such as "od + 0.5 hs", or stages one after the other, such as "hs for 0.7
then od" (spaces/students/stages.py). Methods are loaded when they are first looked up, since their losses need torch.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spaces.errors import SpecError, unknown
from spaces.registry import Registry
from spaces.students.architecture import Attention, EmbeddingFacts, StudentArchitecture
from spaces.students.axis import Axis

TERM_PATTERN = re.compile(r"(?:(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*?\s*)?(?P<name>[A-Za-z_]\w*)")
PLUS_PATTERN = re.compile(r"(?<!\d[eE])\+")

UNTRAINED = "untrained"
"""Stands in place of a method in the row of a student that was never trained, a start as it is. No spec asks for it."""


@dataclass(frozen=True)
class Pairing:
    """What a method is set up for: a trial's configuration, and the shapes of its student and of the teacher."""

    config: Mapping[str, Any]
    student: StudentArchitecture
    teacher: StudentArchitecture
    embedding: EmbeddingFacts = field(default_factory=EmbeddingFacts)
    """How the teacher embeds texts."""
    attention: Attention = field(default_factory=Attention)
    """The teacher's."""
    student_attention: Attention = field(default_factory=Attention)
    held: tuple[int, ...] = ()
    """The teacher layer that each layer of the student starts as; none where the start copies none."""
    student_skipped: int | None = None
    """Tokens at the start of each text that the student does not pool; None: as many as the teacher."""
    scored_state: str = "cls"
    """The pooling that the teacher's classification head reads, if it has one."""


@dataclass(frozen=True)
class TransferMethod:
    """One way to learn from a teacher."""

    name: str
    meaning: str
    paper: str
    """Where it was published, such as "arXiv:1503.02531"."""
    loss: Callable[[Pairing], Any]
    """Its loss for one trial: a trainables.losses.loss.Loss."""
    signals: tuple[str, ...] = ()
    """The signals (trainables/models/signals.py) that it reads of the teacher; none: it learns without a teacher."""
    axes: tuple[Axis, ...] = ()
    """The axes of the search space that only matter with this method."""
    needs_lm_head: bool = False
    """Whether the teacher must have a trained masked-LM head."""
    student_lm_head: bool = False
    """Whether the student trains a masked-LM head."""
    scores_pairs: bool = False
    """Whether teacher and student are cross-encoders, and the corpus has pairs of texts."""
    classifies: bool = False
    """Whether teacher and student are classifiers of several classes, and the corpus has single texts."""
    labelled: bool = False
    """Whether it learns labels of the corpus."""
    mixes: bool = False
    """Whether its texts may be mixed, and a student compared with itself: it reads the same signals of both, of the
    last layer alone, and has no learned maps."""
    masked_inputs: bool = False
    """Whether the inputs are masked; in a sum, one such method masks the inputs of all."""


METHODS = Registry(
    TransferMethod,
    "stillhouse.methods",
    {
        "od": "trainables.losses.od:OD",
        "hs": "trainables.losses.hs:HS",
        "mha": "trainables.losses.mha:MHA",
        "mha_direct": "trainables.losses.mha_direct:MHA_DIRECT",
        "mlm": "trainables.losses.mlm:MLM",
        "embed": "trainables.losses.embed:EMBED",
        "embed_similarity": "trainables.losses.embed_similarity:EMBED_SIMILARITY",
        "score": "trainables.losses.score:SCORE",
        "soft_labels": "trainables.losses.soft_labels:SOFT_LABELS",
        "labels": "trainables.losses.labels:LABELS",
    },
)


def parse_method(text: str) -> tuple[tuple[str, float], ...]:
    """Read "mha" or "od + 0.5 hs" into (name, weight) pairs in the order of METHODS; a missing weight is 1.

    Of a method in stages, one of them.
    """
    weights: dict[str, float] = {}
    problems: list[str] = []
    for term in PLUS_PATTERN.split(text):
        match = TERM_PATTERN.fullmatch(term.strip())
        if match is None:
            problems.append(f"method {text!r}: {term.strip()!r} is not a method or WEIGHT METHOD, such as '0.5 hs'")
            continue
        name, weight = match["name"], float(match["weight"] or 1)
        if name not in METHODS:
            problems.append(unknown("method", METHODS, name))
            continue
        if name in weights:
            problems.append(f"method {text!r} names {name!r} twice; add the weights up")
        if not 0 < weight < math.inf:
            problems.append(f"method {text!r}: the weight of {name!r} must be positive and finite, got {weight:g}")
        weights[name] = weight
    if problems:
        raise SpecError(problems)
    return tuple((name, weights[name]) for name in METHODS if name in weights)


def canonical_sum(text: str) -> str:
    """The one spelling of a method without stages: terms in the order of METHODS, weights of 1 left out."""
    terms = parse_method(text)
    return " + ".join(name if weight == 1 else f"{weight:.12g} {name}" for name, weight in terms)
