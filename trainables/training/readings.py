"""What one training step reads: rows of the corpus, masked or not, and, from the target cache, what the teacher said.

Everything is a function of (seed, step), so that a resumed trial reads what an undisturbed one would have read. The
mask of a block depends on the block and on its view (the epoch, modulo `mask_views`), not on the trial: all trials of
a study mask alike, and the teacher's answer to a masked block is worth keeping.
Shapes: B batch, T tokens, D width, N masked positions.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from trainables.models.signals import States
from trainables.text.corpus import Corpus
from trainables.text.masking import mask_tokens

SPLITS = ("train", "held_out")
T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """A batch as both models read it: the inputs, the masked positions (None: nothing is masked), the words before.

    states: the teacher's, where they come from the target cache; None where the teacher has to be run.
    mask_BT: 1 at valid tokens; None when every token is valid.
    teachers: the same texts in the teacher's tokens, where these are others and it has to be run.
    classes_B: the class of each text as the corpus numbers them, where it has labels.
    """

    inputs_BT: Tensor
    positions_BT: Tensor | None
    words_BT: Tensor
    states: States | None = None
    mask_BT: Tensor | None = None
    teachers: "Reading | None" = None
    classes_B: Tensor | None = None

    def to(self, device: torch.device) -> "Reading":
        """The same on a device."""
        positions, states, mask, classes = self.positions_BT, self.states, self.mask_BT, self.classes_B
        return Reading(
            self.inputs_BT.to(device, non_blocking=True),
            None if positions is None else positions.to(device, non_blocking=True),
            self.words_BT.to(device, non_blocking=True),
            states if states is None else moved(states, device),
            None if mask is None else mask.to(device, non_blocking=True),
            None if self.teachers is None else self.teachers.to(device),
            None if classes is None else classes.to(device, non_blocking=True),
        )


def moved(states: States, device: torch.device) -> States:
    """States on a device."""
    return {state: tensor.to(device, non_blocking=True) for state, tensor in states.items()}


def read_batch(corpus: Corpus, split: str, blocks: np.ndarray, views: np.ndarray | None, fraction: float) -> Reading:
    """Rows of a split ("train" or "held_out"); masked when `views` says under which view each block is."""
    ids, mask = corpus.read(split, blocks)
    ids_BT, mask_BT = torch.from_numpy(ids), None if mask is None else torch.from_numpy(mask)
    if views is None:
        classes_B = torch.from_numpy(corpus.classes[split][blocks]) if corpus.classes else None
        return Reading(ids_BT, None, ids_BT, mask_BT=mask_BT, classes_B=classes_B)
    keys = [(SPLITS.index(split), int(block), int(view)) for block, view in zip(blocks, views, strict=True)]
    return Reading(*mask_tokens(ids_BT, corpus, fraction, keys), ids_BT, mask_BT=mask_BT)


def ahead(read: Callable[[int], T], first: int, last: int) -> Iterator[tuple[int, T]]:
    """(step, read(step)) for first to last, the next one being read while the present one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        coming = reader.submit(read, first) if first <= last else None
        for step in range(first, last + 1):
            assert coming is not None
            present = coming.result()
            coming = reader.submit(read, step + 1) if step < last else None
            yield step, present
