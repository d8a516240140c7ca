"""How well a masked-LM head predicts held-out text, and whether it looks trained at all."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from trainables.models.encoder import lm_logits
from trainables.text.corpus import Corpus
from trainables.training.readings import read_batch

TELLING_TOKENS = 200
CHECKED_BLOCKS = 32
"""Enough to tell a trained head from another; a large teacher reads them in seconds."""


@dataclass(frozen=True)
class MaskedAccuracy:
    """Shares of masked held-out tokens."""

    right: float
    """that the head predicts exactly"""
    commonest: float
    """that are the commonest of them: what a head that always says the same word reaches"""
    tokens: int

    @property
    def looks_untrained(self) -> bool:
        """Whether it is no better than the commonest word, beyond two standard errors; of few tokens none is told."""
        error = (self.commonest * (1 - self.commonest) / self.tokens) ** 0.5
        return self.tokens >= TELLING_TOKENS and self.right <= self.commonest + 2 * error


@torch.no_grad()
def masked_accuracy(
    model: PreTrainedModel, corpus: Corpus, max_blocks: int = 512, fraction: float = 0.15
) -> MaskedAccuracy:
    """Of a model with a head, on the first held-out blocks."""
    right, words = 0, np.zeros(0, dtype=np.int64)
    count = min(len(corpus.held_out), max_blocks)
    for start in range(0, count, 16):
        blocks = np.arange(start, min(start + 16, count))
        reading = read_batch(corpus, "held_out", blocks, np.zeros_like(blocks), fraction).to(model.device)
        assert reading.positions_BT is not None
        states = model.base_model(input_ids=reading.inputs_BT).last_hidden_state
        labels = reading.words_BT[reading.positions_BT]
        right += int((lm_logits(model, states[reading.positions_BT]).argmax(-1) == labels).sum())
        words = np.append(words, labels.cpu().numpy())
    return MaskedAccuracy(right / len(words), np.bincount(words).max() / len(words), len(words))
