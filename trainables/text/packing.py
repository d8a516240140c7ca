"""Texts to token ids, and token ids to blocks without padding.

A block is [CLS] w ... [SEP] w ... [SEP] of exactly `sequence_length` tokens: documents follow one another with a
separator between them, so that no position is padding and every block weighs the same in every loss.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from trainables.cache import digest
from trainables.text.sources import Say


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Changes with the vocabulary, the normalisation and the special tokens, not with the last call's padding."""
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None or backend.padding is not None:
        backend = Tokenizer.from_str(backend.to_str())
        backend.no_truncation()
        backend.no_padding()
    return digest(backend.to_str(), sorted(map(str, tokenizer.all_special_tokens)))


def tokenised(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int | None, progress: Say, chunk: int = 2000
) -> Iterator[list[int]]:
    """Token ids of each text without special tokens, until `max_tokens` are reached."""
    tokens = 0
    for start in range(0, len(texts), chunk):
        batch = tokenizer(texts[start : start + chunk], add_special_tokens=False, verbose=False)["input_ids"]
        for ids in batch:
            if ids:
                yield ids
                tokens += len(ids)
            if max_tokens is not None and tokens >= max_tokens:
                return
        if start // chunk % 10 == 9:
            progress(f"corpus: {start + len(batch):,} of {len(texts):,} texts, {tokens:,} tokens")


def pack(documents: Iterable[list[int]], tokenizer: PreTrainedTokenizerBase, sequence_length: int) -> np.ndarray:
    """Blocks (num_blocks, sequence_length) of uint16 or int32; what does not fill the last block is left out."""
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    if first is None or last is None:
        raise SpecError(["[teacher] its tokenizer has no [CLS] or [SEP] token: not an encoder of the BERT kind"])
    stream = np.fromiter((i for ids in documents for i in (*ids, last)), dtype=np.int32)
    inner = sequence_length - 2
    body = stream[: len(stream) // inner * inner].reshape(-1, inner)
    blocks = np.empty((len(body), sequence_length), dtype=np.uint16 if len(tokenizer) <= 2**16 else np.int32)
    blocks[:, 0], blocks[:, 1:-1], blocks[:, -1] = first, body, last
    return blocks
