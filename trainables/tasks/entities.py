"""Entities in tagged words: exact spans under BIO tags, and the F1 of finding them.

A span is (label, first word, word after the last). B-X starts one; I-X goes on with a span of X that ends just before
it and otherwise starts one itself, as CoNLL's own evaluation reads such tags (Tjong Kim Sang & De Meulder 2003,
arXiv:cs/0306050), so that predictions that are no well-formed BIO have spans as well; O is outside.
"""

from collections.abc import Sequence

import numpy as np

OUTSIDE = "O"


def is_bio(names: Sequence[str]) -> bool:
    """Whether these tag names are O, B-X and I-X only, with at least one B-X or I-X."""
    inside = [name for name in names if name != OUTSIDE]
    return bool(inside) and all(name[:2] in ("B-", "I-") and len(name) > 2 for name in inside)


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The spans of one sentence."""
    found: set[tuple[str, int, int]] = set()
    label, start = "", 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        own = "" if tag == OUTSIDE else tag[2:]
        if label and (own != label or tag.startswith("B-")):
            found.add((label, start, place))
            label = ""
        if own and not label:
            label, start = own, place
    return found


def entity_f1(
    targets_N: np.ndarray, answers_N: np.ndarray, lengths: Sequence[int] | np.ndarray, names: Sequence[str]
) -> float:
    """Micro F1 over exact spans of all sentences; 0 when there is none to find or none found.

    targets_N, answers_N: tag ids of the words of all sentences, one after the other; lengths: words of each sentence.
    """
    right = wanted = given = 0
    start = 0
    for length in lengths:
        part = slice(start, start + int(length))
        target, answer = (spans([names[tag] for tag in tags_N[part]]) for tags_N in (targets_N, answers_N))
        right, wanted, given = right + len(target & answer), wanted + len(target), given + len(answer)
        start += int(length)
    return 2 * right / (wanted + given) if right else 0.0
