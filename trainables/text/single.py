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
) -> tuple[np.ndarray, np.ndarray]:
    """(rows NT, lengths N): each text with special tokens; with `max_tokens` a sample over all.

    What is cut, and what is too short to be kept, is said in one line.
    """
    alone = not texts or isinstance(texts[0], str)
    order = range(len(texts)) if max_tokens is None else np.random.default_rng(SEED).permutation(len(texts)).tolist()
    kept: list[list[int]] = []
    tokens = seen = short = long = 0
    for start in range(0, len(order), CHUNK):
        if max_tokens is not None and tokens >= max_tokens:
            break
        batch = [texts[i] for i in order[start : start + CHUNK]]
        columns = [batch] if alone else [list(column) for column in zip(*batch, strict=True)]
        for ids in tokenizer(*columns, truncation=True, max_length=longest, verbose=False)["input_ids"]:
            if max_tokens is not None and tokens >= max_tokens:
                break
            seen += 1
            if len(ids) < FEWEST_TOKENS:
                short += 1
                continue
            long += len(ids) == longest
            tokens += len(ids)
            kept.append(ids)
    say(
        f"corpus: {len(kept):,} {'single texts' if alone else 'pairs'} of {tokens / max(1, len(kept)):.0f} tokens on "
        f"average; {long:,} fill or exceed {longest} tokens and are cut there, {short:,} of fewer than {FEWEST_TOKENS} "
        "are left out"
    )
    rows = np.full((len(kept), longest), tokenizer.pad_token_id or 0, dtype_of(tokenizer))
    for row, ids in zip(rows, kept, strict=True):
        row[: len(ids)] = ids
    return rows, np.array([len(ids) for ids in kept], dtype=np.int32)
