"""Entities in tagged words: exact spans under BIO tags, and the F1 of finding them.

A span is (label, first word, word after the last). B-X starts one; I-X goes on with a span of X that ends just before
it and otherwise starts one itself, as CoNLL's own evaluation reads such tags (Tjong Kim Sang & De Meulder 2003,
arXiv:cs/0306050), so that predictions that are no well-formed BIO have spans as well; O is outside.
"""

from collections.abc import Sequence

import numpy as np

from trainables.text.ragged import Ragged

OUTSIDE = "O"


def bio_problem(names: Sequence[str]) -> str | None:
    """Why these tag names are no BIO tags: O, B-X and I-X only, with at least one B-X or I-X. None if they are."""
    inside = [name for name in names if name != OUTSIDE]
    strange = [name for name in inside if name[:2] not in ("B-", "I-") or len(name) < 3]
    if inside and not strange:
        return None
    return f"needs tags O, B-X and I-X; there is {strange[0] if strange else 'no B- or I- at all'}"


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


def entity_f1(labels: Ragged, predictions: np.ndarray, names: Sequence[str]) -> float:
    """Micro F1 over exact spans of all sentences; 0 when there is none to find or none found.

    labels: the tag ids of each sentence; predictions: those of the words of all sentences, one after the other.
    """
    right = wanted = given = 0
    for sentence in range(len(labels)):
        part = slice(labels.offsets[sentence], labels.offsets[sentence + 1])
        target, answer = (spans([names[tag] for tag in tags_N[part]]) for tags_N in (labels.values, predictions))
        right, wanted, given = right + len(target & answer), wanted + len(target), given + len(answer)
    return 2 * right / (wanted + given) if right else 0.0
