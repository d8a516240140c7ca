"""Masking as BERT does it (Devlin et al. 2019, arXiv:1810.04805, section 3.1), the same number of positions per block.

Then a batch that is split over several workers has the same mean as the whole batch.
Shapes: B batch, T tokens.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from spaces.errors import SpecError
from trainables.text.corpus import Corpus

KEEP, RANDOM = 0.1, 0.1  # of the chosen positions: left as they are, replaced by a random word; the rest is masked


def mask_tokens(
    ids_BT: Tensor, corpus: Corpus, fraction: float, keys: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """(inputs_BT, positions_BT): the same number of masked positions in every row, none of them a special token.

    A row's mask is drawn from its key alone (one sequence of whole numbers for each row), so that it is the same
    whoever masks it and in whatever company: what a teacher says about a masked block can be kept.
    80 % become the mask token, 10 % a random word, 10 % stay. A random word is never a special token: RoBERTa counts
    its positions from the padding tokens that it sees.
    """
    if corpus.mask_token_id is None:
        raise SpecError(["[teacher] its tokenizer has no mask token, and this method masks words"])
    tokens, words = ids_BT.shape[1], ordinary_words(corpus)
    generators = [np.random.default_rng(key) for key in keys]
    scores_BT, dice_BT = (torch.from_numpy(np.stack([g.random(tokens) for g in generators])) for _ in range(2))
    drawn_BT = words[torch.from_numpy(np.stack([g.integers(len(words), size=tokens) for g in generators]))]
    special_BT = torch.isin(ids_BT, torch.tensor(corpus.special_ids))
    chosen = scores_BT.masked_fill(special_BT, 2.0).topk(masked_per_block(tokens, fraction), dim=1, largest=False)
    positions_BT = torch.zeros_like(special_BT).scatter_(1, chosen.indices, True) & ~special_BT
    inputs_BT = torch.where(positions_BT & (dice_BT >= KEEP + RANDOM), corpus.mask_token_id, ids_BT)
    inputs_BT = torch.where(positions_BT & (dice_BT < RANDOM), drawn_BT, inputs_BT)
    return inputs_BT, positions_BT


def masked_per_block(sequence_length: int, fraction: float) -> int:
    """How many positions of a block are masked (fewer only where separators leave fewer words)."""
    return max(1, round(fraction * sequence_length))


@lru_cache(maxsize=2)
def ordinary_words(corpus: Corpus) -> Tensor:
    """The ids of all tokens that are not special."""
    words = torch.arange(corpus.vocab_size)
    return words[~torch.isin(words, torch.tensor(corpus.special_ids))]
