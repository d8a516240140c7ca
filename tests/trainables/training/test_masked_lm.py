"""What is said of a masked-LM head: how often it is right, and whether it looks trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_trials import METHODS

from trainables.models.student import build_student
from trainables.training.masked_lm import MaskedAccuracy, masked_accuracy
from trainables.training.readings import read_batch


def test_a_head_that_always_says_the_commonest_word_looks_untrained(teacher, corpus):
    """It is right exactly where that word was masked."""
    student = build_student(METHODS["mlm"], teacher, 0, corpus)
    blocks = np.arange(len(corpus.held_out))
    reading = read_batch(corpus, "held_out", blocks, np.zeros_like(blocks), 0.15)
    masked = reading.words_BT[reading.positions_BT]
    word = masked.mode().values
    with torch.no_grad():
        student.get_output_embeddings().bias[word] = 1e4
    found = masked_accuracy(student, corpus)
    assert found.right == found.commonest == pytest.approx((masked == word).float().mean().item())
    assert found.tokens == len(masked) and replace(found, tokens=600).looks_untrained


def test_a_trained_head_is_told_from_a_random_and_a_flat_one():
    assert not MaskedAccuracy(right=0.26, commonest=0.06, tokens=600).looks_untrained
    assert MaskedAccuracy(right=0.0005, commonest=0.06, tokens=600).looks_untrained
    assert MaskedAccuracy(right=0.07, commonest=0.06, tokens=600).looks_untrained  # within the noise
    assert not MaskedAccuracy(right=0.07, commonest=0.06, tokens=60_000).looks_untrained
    assert not MaskedAccuracy(right=0.0, commonest=0.06, tokens=100).looks_untrained  # too few to tell
