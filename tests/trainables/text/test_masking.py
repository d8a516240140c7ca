"""Masks: how many, where, what becomes of the words, and what they depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spaces.errors import SpecError
from trainables.text.corpus import Corpus
from trainables.text.masking import mask_tokens

MASK = 4


def masked_corpus() -> Corpus:
    empty = np.zeros((1, 1), dtype=np.uint16)
    return Corpus(empty, empty, vocab_size=200, mask_token_id=MASK, special_ids=(0, 1, 2, 3, MASK), digest="")


def masked(seed=0, fraction=0.15):
    ids_BT = torch.randint(5, 200, (400, 40), generator=torch.Generator().manual_seed(9))
    ids_BT[:, 0], ids_BT[:, 20], ids_BT[:, -1] = 2, 3, 3
    return ids_BT, *mask_tokens(ids_BT, masked_corpus(), fraction, [(0, row, seed) for row in range(400)])


@pytest.mark.parametrize("fraction", [0.01, 0.15, 0.5])
def test_the_same_number_of_words_is_masked_in_every_row(fraction):
    ids_BT, inputs_BT, positions_BT = masked(fraction=fraction)
    assert set(positions_BT.sum(1).tolist()) == {max(1, round(fraction * 40))}
    assert not positions_BT[:, [0, 20, 39]].any()
    assert torch.equal(inputs_BT[~positions_BT], ids_BT[~positions_BT])
    assert positions_BT.float().mean(0)[1:20].min() > 0 or fraction < 0.1


def test_masked_words_are_80_10_10():
    ids_BT, inputs_BT, positions_BT = masked()
    before, after = ids_BT[positions_BT], inputs_BT[positions_BT]
    share = (after == MASK).float().mean().item()
    kept = (after == before).float().mean().item()
    assert share == pytest.approx(0.8, abs=0.03)
    assert kept == pytest.approx(0.1, abs=0.03)
    replaced = after[(after != MASK) & (after != before)]
    assert len(replaced) / len(after) == pytest.approx(0.1, abs=0.03)
    assert replaced.min() >= 5, "a random word is a special token"
    assert replaced.max() > 150


def test_a_mask_is_a_function_of_its_key_whatever_the_company():
    ids_BT, inputs_BT, positions_BT = masked(1)
    rows = [7, 3, 399]
    alone = mask_tokens(ids_BT[rows], masked_corpus(), 0.15, [(0, row, 1) for row in rows])
    assert torch.equal(alone[0], inputs_BT[rows])
    assert torch.equal(alone[1], positions_BT[rows])
    other = masked(2)[2]
    assert not (other == positions_BT).all(1).any()


def test_a_block_of_separators_has_fewer_masks():
    ids_BT = torch.full((1, 40), 3)
    ids_BT[0, 4] = 50
    assert mask_tokens(ids_BT, masked_corpus(), 0.5, [(0,)])[1].nonzero().tolist() == [[0, 4]]


def test_masking_without_a_mask_token_is_refused():
    bare = replace(masked_corpus(), mask_token_id=None)
    with pytest.raises(SpecError, match="no mask token"):
        mask_tokens(torch.ones(1, 4), bare, 0.5, [(0,)])
