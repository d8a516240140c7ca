"""The transfer methods as data: what each needs from teacher and student, and which axes it is searched over.

A trial's method is one name or a weighted sum such as "od + 0.5 hs"; the losses themselves live in
trainables/losses/objectives.py under the same names. Sources: output distribution (Hinton et al., arXiv:1503.02531),
hidden states (TinyBERT, arXiv:1909.10351), attention relations (MiniLMv2, arXiv:2012.15828), direct Q, K, V regression
(DirectMiniLM, arXiv:2310.08797).
"""

import math
import re
from dataclasses import dataclass

from spaces.errors import SpecError, StillhouseError, choose

TERM_PATTERN = re.compile(r"(?:(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*?\s*)?(?P<name>[A-Za-z_]\w*)")
PLUS_PATTERN = re.compile(r"(?<!\d[eE])\+")


@dataclass(frozen=True)
class TransferMethod:
    """One way to learn from a teacher."""

    name: str
    needs: frozenset[str]
    """What the loss reads of the teacher: a subset of "hidden", "qkv", "logits"."""
    axes: tuple[str, ...]
    """The axes of the search space that only matter with this method."""
    needs_lm_head: bool
    """Whether the teacher must have a trained masked-LM head."""
    student_lm_head: bool
    """Whether the student trains a masked-LM head."""
    masked_inputs: bool
    """Whether the inputs are masked; in a sum, one such method masks the inputs of all."""
    source: str


METHODS: dict[str, TransferMethod] = {
    method.name: method
    for method in (
        TransferMethod("od", frozenset({"logits"}), ("temperature",), True, True, True, "arXiv:1503.02531"),
        TransferMethod("hs", frozenset({"hidden"}), ("mapping",), False, False, False, "arXiv:1909.10351"),
        TransferMethod(
            "mha", frozenset({"qkv"}), ("relation_heads", "teacher_layer"), False, False, False, "arXiv:2012.15828"
        ),
        TransferMethod("mha_direct", frozenset({"qkv"}), ("teacher_layer",), False, False, False, "arXiv:2310.08797"),
        TransferMethod("mlm", frozenset(), (), False, True, True, "arXiv:1810.04805, without a teacher"),
    )
}


def parse_method(text: str) -> tuple[tuple[str, float], ...]:
    """Read "mha" or "od + 0.5 hs" into (name, weight) pairs in the order of METHODS; a missing weight is 1."""
    weights: dict[str, float] = {}
    problems: list[str] = []
    for term in PLUS_PATTERN.split(text):
        match = TERM_PATTERN.fullmatch(term.strip())
        if match is None:
            problems.append(f"method {text!r}: {term.strip()!r} is not a method or WEIGHT METHOD, such as '0.5 hs'")
            continue
        name, weight = match["name"], float(match["weight"] or 1)
        try:
            choose("method", METHODS, name)
        except StillhouseError as error:
            problems.append(str(error))
            continue
        if name in weights:
            problems.append(f"method {text!r} names {name!r} twice; add the weights up")
        if not 0 < weight < math.inf:
            problems.append(f"method {text!r}: the weight of {name!r} must be positive and finite, got {weight:g}")
        weights[name] = weight
    if problems:
        raise SpecError(problems)
    return tuple((name, weights[name]) for name in METHODS if name in weights)


def canonical_method(text: str) -> str:
    """The one spelling of a method: terms in the order of METHODS, weights of 1 left out."""
    terms = parse_method(text)
    return " + ".join(name if weight == 1 else f"{weight:.12g} {name}" for name, weight in terms)


def terms_of(method: str) -> tuple[TransferMethod, ...]:
    """The transfer methods that a method text sums."""
    return tuple(METHODS[name] for name, _ in parse_method(method))


def axes_of(method: str) -> tuple[str, ...]:
    """The axes that a trial of this method has besides the common ones, without repeats."""
    return tuple(dict.fromkeys(axis for term in terms_of(method) for axis in term.axes))


def needs_of(method: str) -> frozenset[str]:
    """What a method reads of the teacher: a subset of "hidden", "qkv", "logits"."""
    return frozenset[str]().union(*(term.needs for term in terms_of(method)))
