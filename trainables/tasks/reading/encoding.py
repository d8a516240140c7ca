"""Texts as token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from trainables.tasks.data import Rows, Split
from trainables.tasks.documents import DOCUMENTS
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


def with_candidates(
    splits: Mapping[str, Split], rows: Mapping[str, Rows], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, Split]:
    """The splits of queries with a view `pair`: the query and the document of each label."""
    documents, found = rows[DOCUMENTS].inputs["text"], dict(splits)
    for split, each in splits.items():
        if split != DOCUMENTS:
            labels = each.labels
            queries = [text for text, count in zip(rows[split].inputs["text"], labels.lengths(), strict=True)
                       for _ in range(count)]  # fmt: skip
            passages = [documents[place] for place in labels.values["document"]]
            pairs = encoded(tokenizer, queries, passages, max_length)
            found[split] = replace(each, views={**each.views, "pair": pairs})
    return found
