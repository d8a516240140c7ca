"""Mixup of texts, and a student that is held to what it says of each alone (CR-ILD).

Both models read H_0 = share H_0(x) + (1 - share) H_0(partner of x), and the student learns the teacher's answer to it.
Its own answer to the mix is also drawn to its answers to the two, by the same loss, with a weight that grows linearly
from nothing (Ko et al. 2023, arXiv:2302.01530; their code grows it by epochs, with 0.1 at the end).
The partner of a row is the one that the reversed batch has in its place. Rows of a batch are read in an order in which
the two are neighbours, so that workers and micro-batches hold whole pairs.
Shapes: B batch, T tokens, D width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spaces.errors import TrialFailed

STREAM = 23
"""Keeps the draws of shares apart from others of the same seed."""


@dataclass(frozen=True)
class Mix:
    """How the texts of one step are mixed."""

    share: float
    """Of each text's own embeddings, from 0.5 to 1."""
    weight: float
    """What the consistency term counts."""

    def __call__(self, state_BTD: Tensor) -> Tensor:
        """Each row mixed with its partner."""
        return self.share * state_BTD + (1 - self.share) * partner(state_BTD)


def mix_of(step: int, total_steps: int, seed: int, final_weight: float) -> Mix:
    """That of a step, counted from 1: the share max(u, 1 - u) of a uniform u, Beta(1, 1), and the weight so far."""
    drawn = float(np.random.default_rng((STREAM, seed, step)).random())
    return Mix(max(drawn, 1 - drawn), final_weight * step / total_steps)


def partner(signal: Any) -> Any:
    """A tensor B..., or a tuple of them, with the two rows of each pair in each other's place."""
    if isinstance(signal, tuple):
        return tuple(map(partner, signal))
    return signal.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def both_valid(mask_BT: Tensor | None) -> Tensor | None:
    """The mask of mixed rows: where one of the two has a token."""
    return None if mask_BT is None else torch.maximum(mask_BT, partner(mask_BT))


def paired(rows: int) -> np.ndarray:
    """The order 0, B - 1, 1, B - 2, ... of an even B, in which each row stands beside that of the reversed batch."""
    order = np.arange(rows)
    return np.stack([order, order[::-1]], axis=1)[: rows // 2].flatten()


def check_pairs(batch_size: int, parts: int) -> None:
    """Raises TrialFailed where the parts of a batch do not hold whole pairs."""
    if batch_size % (2 * parts):
        raise TrialFailed(
            f"[training] mixup mixes pairs: batch_size must be a multiple of {2 * parts} (2 x workers x accumulation "
            f"steps), got {batch_size}; nearest: {max(1, round(batch_size / (2 * parts))) * 2 * parts}"
        )
