"""Texts kept apart: each a row of token ids of its own, padded on the right, as a model of embeddings reads them.

Pairs of texts are such rows too, with the separator between the two; what is too long is cut from the longer one.

Shapes: N texts, T the longest length.
"""

import re
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from spaces.telling import Say
from trainables.text.packing import SEED, dtype_of

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")
FEWEST_TOKENS = 5
"""A shorter row, two special tokens included, says next to nothing."""
CHUNK = 2000


def sentences_of(text: str) -> list[str]:
    """A text cut after its full stops, question and exclamation marks, and at line ends."""
    return [part for part in SENTENCE_END.split(text) if part.strip()]


def single_rows(
    texts: Sequence[str] | Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    longest: int,
    max_tokens: int | None,
    say: Say,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows NT, lengths N, places N of the texts): each with special tokens; with `max_tokens` a sample over all.

    What is cut, and what is too short to be kept, is said in one line.
    """
    alone = not texts or isinstance(texts[0], str)
    order = range(len(texts)) if max_tokens is None else np.random.default_rng(SEED).permutation(len(texts)).tolist()
    kept: list[list[int]] = []
    places: list[int] = []
    tokens = seen = short = long = 0
    for start in range(0, len(order), CHUNK):
        if max_tokens is not None and tokens >= max_tokens:
            break
        some = order[start : start + CHUNK]
        batch = [texts[i] for i in some]
        columns = [batch] if alone else [list(column) for column in zip(*batch, strict=True)]
        encoded = tokenizer(*columns, truncation=True, max_length=longest, verbose=False)["input_ids"]
        for place, ids in zip(some, encoded, strict=True):
            if max_tokens is not None and tokens >= max_tokens:
                break
            seen += 1
            if len(ids) < FEWEST_TOKENS:
                short += 1
                continue
            long += len(ids) == longest
            tokens += len(ids)
            kept.append(ids)
            places.append(place)
    say(
        f"corpus: {len(kept):,} {'single texts' if alone else 'pairs'} of {tokens / max(1, len(kept)):.0f} tokens on "
        f"average; {long:,} fill or exceed {longest} tokens and are cut there, {short:,} of fewer than {FEWEST_TOKENS} "
        "are left out"
    )
    return *filled_up(kept, tokenizer, longest), np.array(places, dtype=np.int64)


def same_texts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows NT, lengths N) of these texts, all of them, whatever another tokenizer made of them."""
    ids: list[list[int]] = []
    for start in range(0, len(texts), CHUNK):
        batch = list(texts[start : start + CHUNK])
        ids += tokenizer(batch, truncation=True, max_length=longest, verbose=False)["input_ids"]
    return filled_up(ids, tokenizer, longest)


def filled_up(
    ids: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rows NT, padded on the right, lengths N)."""
    rows = np.full((len(ids), longest), tokenizer.pad_token_id or 0, dtype_of(tokenizer))
    for row, each in zip(rows, ids, strict=True):
        row[: len(each)] = each
    return rows, np.array([len(each) for each in ids], dtype=np.int32)
