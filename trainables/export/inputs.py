"""What a forward pass is timed on: random tokens, all of one length or as long as the texts of tasks.

Shapes: B batch, T tokens.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spaces.records.latency import PassSpec

TURNS = 16
"""Batches that take turns where lengths differ."""

Inputs = dict[str, Tensor]
"""input_ids and attention_mask, both BT."""


def batches_of(setting: PassSpec, lengths: Sequence[int] = ()) -> list[list[int]]:
    """The lengths of the texts of each batch: one batch of full sequences, or of these lengths in their order."""
    size = setting.batch_size
    return [list(lengths[start : start + size]) for start in range(0, len(lengths), size)] or [
        [setting.sequence_length] * size
    ]


def random_inputs(vocab_size: int, pad_id: int, batches: Sequence[Sequence[int]]) -> list[Inputs]:
    """Inputs for each batch, padded to its longest text; always the same."""
    generator, found = torch.Generator().manual_seed(0), []
    for lengths in batches:
        tokens_BT = torch.randint(5, vocab_size, (len(lengths), max(lengths)), generator=generator)
        mask_BT = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).to(tokens_BT.dtype)
        found.append({"input_ids": torch.where(mask_BT.bool(), tokens_BT, pad_id), "attention_mask": mask_BT})
    return found


def by_turns(passes: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """A function that makes one of the passes each time it is called, in their order, from the start again."""
    following = itertools.cycle(passes)
    return lambda: next(following)()
