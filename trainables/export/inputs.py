"""What a forward pass is timed on: random tokens, all of one length or as long as the texts of tasks.

Shapes: B batch, T tokens.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from spaces.errors import SpecError
from spaces.records.latency import PassSpec
from trainables.models.encoder import usable_positions

TURNS = 16
"""Batches that take turns where lengths differ."""

Batches = Sequence[Sequence[int]]
"""The lengths of the texts of each."""
Inputs = dict[str, Tensor]
"""input_ids and attention_mask, both BT."""


def batches_of(setting: PassSpec, lengths: Sequence[int] = ()) -> list[list[int]]:
    """The lengths of the texts of each batch: one batch of full sequences, or of these lengths in their order."""
    size = setting.batch_size
    return [list(lengths[start : start + size]) for start in range(0, len(lengths), size)] or [
        [setting.sequence_length] * size
    ]


def inputs_of(model: PreTrainedModel, batches: Batches) -> list[Inputs]:
    """Inputs for each batch where the model is, padded to the longest text; always the same.

    Raises SpecError for a text that is too long for the model.
    """
    longest, usable, pad_id = max(map(max, batches)), usable_positions(model.config), model.config.pad_token_id or 0
    if longest > usable:
        raise SpecError([f"latency sequence_length is {longest}; the model reads at most {usable} tokens"])
    generator, found = torch.Generator().manual_seed(0), []
    for lengths in batches:
        tokens_BT = torch.randint(5, model.config.vocab_size, (len(lengths), max(lengths)), generator=generator)
        mask_BT = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).to(tokens_BT.dtype)
        tokens_BT = torch.where(mask_BT.bool(), tokens_BT, pad_id)
        found.append({"input_ids": tokens_BT.to(model.device), "attention_mask": mask_BT.to(model.device)})
    return found


def by_turns(passes: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """A function that makes one of the passes each time it is called, in their order, from the start again."""
    following = itertools.cycle(passes)
    return lambda: next(following)()
