"""Spans of BIO tags and their F1, against a slow reading of the definition and closed forms."""

import numpy as np
import pytest

from trainables.tasks.entities import bio_problem, entity_f1, spans
from trainables.text.ragged import ragged

NAMES = ("O", "B-A", "I-A", "B-B", "I-B")


def slow_spans(tags):
    """Every stretch of words is asked whether it is a span: one label, begun once, not to be made longer."""
    found = set()
    for start in range(len(tags)):
        for end in range(start + 1, len(tags) + 1):
            part = tags[start:end]
            label = part[0][2:]
            if "O" in part or any(tag != f"I-{label}" for tag in part[1:]):
                continue
            goes_on = end < len(tags) and tags[end] == f"I-{label}"
            went_before = part[0] == f"I-{label}" and start > 0 and tags[start - 1][2:] == label
            if not goes_on and not went_before:
                found.add((label, start, end))
    return found


def test_spans_against_the_slow_reading():
    rng = np.random.default_rng(0)
    for length in rng.integers(1, 9, 500):
        tags = [NAMES[i] for i in rng.integers(0, len(NAMES), length)]
        assert spans(tags) == slow_spans(tags), tags


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-A I-A O B-B", {("A", 0, 2), ("B", 3, 4)}),
        ("B-A B-A", {("A", 0, 1), ("A", 1, 2)}),
        ("O I-A I-A", {("A", 1, 3)}),
        ("B-A I-B", {("A", 0, 1), ("B", 1, 2)}),
        ("O O", set()),
    ],
)
def test_spans_by_hand(tags, expected):
    assert spans(tags.split()) == expected


def test_f1_counts_exact_spans_over_all_sentences():
    targets = [NAMES.index(tag) for tag in ["B-A", "I-A", "O", "B-B", "B-A"]]
    answers = [NAMES.index(tag) for tag in ["B-A", "O", "O", "B-B", "B-A"]]
    assert entity_f1(ragged([targets[:3], targets[3:]], np.int64), np.array(answers), NAMES) == pytest.approx(2 / 3)
    assert entity_f1(ragged([targets[:3], targets[3:]], np.int64), np.array(targets), NAMES) == 1.0
    assert entity_f1(ragged([targets[:3], targets[3:]], np.int64), np.zeros(5, dtype=int), NAMES) == 0.0
    assert entity_f1(ragged([[0] * 3, [0] * 2], np.int64), np.zeros(5, dtype=int), NAMES) == 0.0


def test_a_span_ends_with_its_sentence():
    """B-A | I-A are two spans in two sentences, one span in one."""
    answers = np.array([1, 1])
    assert entity_f1(ragged([[1, 2]], np.int64), answers, NAMES) == 0.0
    assert entity_f1(ragged([[1], [2]], np.int64), answers, NAMES) == 1.0


def test_which_names_are_bio():
    assert bio_problem(NAMES) is None
    assert bio_problem(("B-X", "I-X")) is None
    assert bio_problem(("O",))
    assert bio_problem(("O", "NOUN"))
    assert bio_problem(("O", "B-"))
