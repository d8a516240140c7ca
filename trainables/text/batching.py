"""Texts of different lengths, as token ids, in padded batches of similar length.

Shapes: B batch, T tokens.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def padded(rows: Sequence[np.ndarray], pad_id: int) -> tuple[Tensor, Tensor]:
    """(ids, mask) of token rows, padded on the right to the longest, both int64 BT."""
    longest = max(len(row) for row in rows)
    ids_BT = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    mask_BT = torch.zeros((len(rows), longest), dtype=torch.int64)
    for i, row in enumerate(rows):
        ids_BT[i, : len(row)] = torch.from_numpy(row.astype(np.int64))
        mask_BT[i, : len(row)] = 1
    return ids_BT, mask_BT


def length_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Indices in batches of similar length, of at most `batch_tokens` tokens once padded (one long text at least)."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= batch_tokens:
            stop += 1
        yield order[start:stop]
        start = stop
