"""Texts to token ids, and token ids to blocks without padding.

A block is [CLS] w ... [SEP] w ... [SEP] of exactly `sequence_length` tokens: documents follow one another with a
separator between them, so that no position is padding and every block weighs the same in every loss. Tokenizers that
begin no text with a token of its own have no [CLS] there either.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.telling import Say
from trainables.cache import digest
from trainables.text.held_out import cut_place

SEED = 0
"""Of the sample of a corpus that has more than is asked for."""
PIECE = 5000
"""Characters of a text that are tokenised at a time: a document may be as long as a corpus."""
CHUNK = 2000
"""Pieces in one call of the tokenizer."""


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Changes with the vocabulary, the normalisation and the special tokens, not with the last call's padding."""
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None or backend.padding is not None:
        backend = Tokenizer.from_str(backend.to_str())
        backend.no_truncation()
        backend.no_padding()
    return digest(backend.to_str(), sorted(map(str, tokenizer.all_special_tokens)))


def tokenised(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int | None, progress: Say
) -> Iterator[list[int]]:
    """Token ids of each text without special tokens, in their order; texts that give none are left out.

    Where the texts have more than `max_tokens`, a sample over all of them: pieces in a random order, always the same,
    until so many tokens are reached.
    """
    pieces, owners = [], []
    for number, text in enumerate(texts):
        for piece in pieces_of(text, PIECE):
            pieces.append(piece)
            owners.append(number)
    if max_tokens is None:
        return joined(pieces_tokenised(pieces, range(len(pieces)), tokenizer, progress), owners)
    tokens, taken = 0, []
    for i, ids in pieces_tokenised(pieces, np.random.default_rng(SEED).permutation(len(pieces)), tokenizer, progress):
        taken.append((i, array("i", ids)))
        tokens += len(ids)
        if tokens >= max_tokens:
            break
    return joined(sorted(taken, key=itemgetter(0)), owners)


def pieces_of(text: str, size: int) -> Iterator[str]:
    """A text, or the parts of one longer than `size`, cut at white space where there is some; all of it."""
    start = 0
    while len(text) - start > size:
        end = cut_place(text, start + size)
        end = end if end > start else start + size  # Chinese, or an address of the web, may have no white space
        yield text[start:end]
        start = end
    yield text[start:]


def pieces_tokenised(
    pieces: Sequence[str], order: Sequence[int] | np.ndarray, tokenizer: PreTrainedTokenizerBase, progress: Say
) -> Iterator[tuple[int, list[int]]]:
    """(number, token ids) of each piece, in this order."""
    tokens = 0
    for start in range(0, len(order), CHUNK):
        part = [int(i) for i in order[start : start + CHUNK]]
        batch = tokenizer([pieces[i] for i in part], add_special_tokens=False, verbose=False)["input_ids"]
        yield from zip(part, batch, strict=True)
        tokens += sum(map(len, batch))
        if start // CHUNK % 10 == 9:
            progress(f"corpus: {start + len(batch):,} of {len(order):,} texts, {tokens:,} tokens")


def joined(found: Iterable[tuple[int, Sequence[int]]], owners: Sequence[int]) -> Iterator[list[int]]:
    """The token ids of pieces, in the order of the pieces; those of a text that follow one another are one again."""
    document: list[int] = []
    before = -2
    for i, ids in found:
        if document and (i != before + 1 or owners[i] != owners[before]):
            yield document
            document = []
        document += ids
        before = i
    if document:
        yield document


def pack(documents: Iterable[list[int]], tokenizer: PreTrainedTokenizerBase, sequence_length: int) -> np.ndarray:
    """Blocks (num_blocks, sequence_length) of uint16 or int32; what does not fill the last block is left out."""
    first, last = frame(tokenizer)
    stream = np.fromiter((i for ids in documents for i in (*ids, last)), dtype=np.int32)
    inner = sequence_length - len(first) - 1
    body = stream[: len(stream) // inner * inner].reshape(-1, inner)
    blocks = np.empty((len(body), sequence_length), dtype_of(tokenizer))
    blocks[:, : len(first)], blocks[:, len(first) : -1], blocks[:, -1] = first, body, last
    return blocks


def frame(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], int]:
    """What a block begins with, one token or none, and the token that it ends with, which also stands after each text.

    [CLS] and [SEP]; of a tokenizer that does not name these, what it puts around a text. Raises SpecError where it ends
    none.
    """
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    if first is not None and last is not None:
        return (first,), last
    ids, special = tokenizer("a")["input_ids"], tokenizer.all_special_ids
    if ids[-1] not in special:
        raise SpecError(
            ["[teacher] its tokenizer ends no text with a special token (it names no [CLS] and [SEP], and puts none "
             "there by itself): texts that follow one another cannot be told apart"]
        )  # fmt: skip
    return tuple(ids[:1]) if ids[0] in special else (), ids[-1]


def dtype_of(tokenizer: PreTrainedTokenizerBase) -> type[np.unsignedinteger | np.signedinteger]:
    """What holds every token id."""
    return np.uint16 if len(tokenizer) <= 2**16 else np.int32


def unknown_share(sequences: Iterable[Sequence[int] | np.ndarray], tokenizer: PreTrainedTokenizerBase) -> float:
    """Of the tokens that are no separators, those that stand for what the tokenizer cannot read."""
    unknown = tokens = 0
    named = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id
    separators = [number for number in named if number is not None]
    unread = None if tokenizer.unk_token_id in separators else tokenizer.unk_token_id  # named so where nothing is
    for each in sequences:
        ids = np.asarray(each)
        unknown += int((ids == unread).sum()) if unread is not None else 0
        tokens += ids.size - int(np.isin(ids, separators).sum())
    return unknown / tokens if tokens else 0.0
