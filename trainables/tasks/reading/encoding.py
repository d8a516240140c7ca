"""Texts as token ids."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from trainables.tasks.data import Rows, Split
from trainables.text.ragged import Ragged, ragged

TOKENIZER_BATCH = 1000


def encode_texts(rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Split:
    """A view for each input, truncated to max_length tokens; beside `text2` also `pair`, both texts in one sequence."""
    views = {role: encoded(tokenizer, texts, None, max_length) for role, texts in rows.inputs.items()}
    if "text2" in rows.inputs:
        views["pair"] = encoded(tokenizer, rows.inputs["text"], rows.inputs["text2"], max_length)
    return Split(views, rows.labels)


def encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], partners: Sequence[str] | None, max_length: int
) -> Ragged:
    """Token ids of each text, or of each pair with the separator between, special tokens included."""
    ids: list[list[int]] = []
    for start in range(0, len(texts), TOKENIZER_BATCH):
        part = slice(start, start + TOKENIZER_BATCH)
        second = None if partners is None else list(partners[part])
        batch = tokenizer(list(texts[part]), second, truncation="longest_first", max_length=max_length)
        ids += batch["input_ids"]
    return ragged(ids, np.int32)
