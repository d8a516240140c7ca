"""Which student layer learns from which teacher layers in hidden-state transfer.

A mapping is a function of the two depths to pairs (student layer, teacher layer), both counted from 1. Names and
definitions follow Udagawa et al. (arXiv:2310.08797, section 3), but for `first` and `held`; explicit pairs are written
"1-2 2-4 3-6".
"""

import re
from collections.abc import Callable
from functools import cache

from spaces.errors import InfeasibleConfig, SpecError, unknown

Pairs = tuple[tuple[int, int], ...]
PAIR_PATTERN = re.compile(r"(\d+)\s*-\s*(\d+)")


def last(student_layers: int, teacher_layers: int) -> Pairs:
    """Only the student's last layer, from the teacher's last."""
    return ((student_layers, teacher_layers),)


def uniform(student_layers: int, teacher_layers: int) -> Pairs:
    """Student layer i from teacher layer round(i L_T / L_S), halves rounded up (integers only, so exact)."""
    return tuple(
        (i, (2 * i * teacher_layers + student_layers) // (2 * student_layers)) for i in range(1, student_layers + 1)
    )


def last_k(student_layers: int, teacher_layers: int) -> Pairs:
    """Student layer i from teacher layer L_T - L_S + i."""
    return tuple((i, teacher_layers - student_layers + i) for i in range(1, student_layers + 1))


def uniform_consecutive(student_layers: int, teacher_layers: int) -> Pairs:
    """Student layer i from its own run of teacher layers, floor((i-1) L_T / L_S) + 1 to floor(i L_T / L_S).

    The runs are contiguous and cover all teacher layers; their lengths differ by at most one, and all are
    L_T / L_S long when L_S divides L_T.
    """
    return tuple(
        (i, j)
        for i in range(1, student_layers + 1)
        for j in range((i - 1) * teacher_layers // student_layers + 1, i * teacher_layers // student_layers + 1)
    )


def uniform_last(student_layers: int, teacher_layers: int) -> Pairs:
    """The pairs of `uniform` and of `last_k`, each pair once."""
    return tuple(sorted({*uniform(student_layers, teacher_layers), *last_k(student_layers, teacher_layers)}))


def first(student_layers: int, teacher_layers: int) -> Pairs:
    """Student layer i from teacher layer i, for starts that hold the teacher's first layers."""
    return tuple((i, i) for i in range(1, student_layers + 1))


MAPPINGS: dict[str, Callable[[int, int], Pairs]] = {
    "last": last,
    "uniform": uniform,
    "last_k": last_k,
    "uniform_consecutive": uniform_consecutive,
    "uniform_last": uniform_last,
    "first": first,
}
HELD = "held"
"""Student layer i from the teacher layer that it starts as; where the start copies no layers, as `uniform`."""
NAMES = (*MAPPINGS, HELD)


@cache
def parse_pairs(text: str) -> Pairs | None:
    """Read explicit pairs "1-2 2-4 3-6" (student-teacher), sorted; None when the text is not of that form."""
    words = re.sub(r"\s*-\s*", "-", text).replace(",", " ").split()
    matches = [PAIR_PATTERN.fullmatch(word) for word in words]
    if not matches or not all(matches):
        return None
    pairs = sorted((int(match[1]), int(match[2])) for match in matches if match)
    problems = [f"mapping {text!r}: layers are counted from 1, got {i}-{j}" for i, j in pairs if i < 1 or j < 1]
    problems += [f"mapping {text!r} repeats {i}-{j}" for i, j in sorted(set(pairs)) if pairs.count((i, j)) > 1]
    if problems:
        raise SpecError(problems)
    return tuple(pairs)


@cache
def canonical_mapping(text: str) -> str:
    """The one spelling of a mapping: its name, or its pairs in order."""
    if pairs := parse_pairs(text):
        return " ".join(f"{i}-{j}" for i, j in pairs)
    if "-" in text:
        raise SpecError([f"mapping {text!r} is not pairs of student-teacher layers, such as '1-2 2-4 3-6'"])
    if text not in NAMES:
        raise SpecError([unknown("mapping", NAMES, text)])
    return text


def resolve_mapping(text: str, student_layers: int, teacher_layers: int, held: tuple[int, ...] = ()) -> Pairs:
    """The pairs of a mapping name or of explicit pairs for these depths; raises InfeasibleConfig when they do not fit.

    held: the teacher layer that each layer of the student starts as, where it is one. Explicit pairs fit the depth of
    their highest student layer only: the layers of a deeper student above it would get no gradient at all.
    """
    text = canonical_mapping(text)
    if student_layers > teacher_layers:
        raise InfeasibleConfig(
            f"a layer mapping needs num_layers of at most the teacher's {teacher_layers}, got {student_layers}; "
            f"nearest legal: {teacher_layers}"
        )
    if text == HELD:
        return tuple(enumerate(held, 1)) if held else uniform(student_layers, teacher_layers)
    pairs = parse_pairs(text)
    if pairs is None:
        return MAPPINGS[text](student_layers, teacher_layers)
    if pairs[-1][0] != student_layers:
        raise InfeasibleConfig(
            f"mapping {text!r} ends at student layer {pairs[-1][0]} and fits only students of that depth, "
            f"got {student_layers}"
        )
    if beyond := [f"{i}-{j}" for i, j in pairs if j > teacher_layers]:
        raise InfeasibleConfig(
            f"mapping {text!r} asks for teacher layers beyond the teacher's {teacher_layers}: {', '.join(beyond)}"
        )
    return pairs
