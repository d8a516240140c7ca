"""A corpus of any size as blocks, in bounded memory: read as a stream, tokenised shard by shard, packed into one file.

The texts are read twice: first they are counted, which says what is held out and how large a sample is, then they are
tokenised, by as many threads as there are cores. A shard is the token ids of about SHARD_CHARACTERS of text (a .npy of
one axis), written whole under `shards` in the cache; a run that was killed goes on with the shards that are there.
Where a shard begins depends on the text alone, so the blocks are the same however many threads there are and however
often a run was stopped. At the end the shards become one file of blocks (N, sequence_length), and are deleted.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.telling import PROGRESS_EVERY_S, Say, duration
from trainables.cache import cache_folder, new_file
from trainables.text.packing import dtype_of, frame
from trainables.text.sources import TextSource
from trainables.text.stream import Stream, Survey, survey

BATCH_CHARACTERS = 1_000_000
"""Of one call of the tokenizer."""
SPARE = 1.05
"""A sample is taken so much larger than it is to be: how many tokens a character makes is known from some texts."""


def share_of(found: Survey, tokenizer: PreTrainedTokenizerBase, max_tokens: int | None) -> float:
    """How much of a corpus is taken for so many tokens; 1: all."""
    probed = [text for *_, text in found.probed]
    characters = sum(map(len, probed))
    tokens = sum(map(len, ids_of(probed, plain(tokenizer))))
    if max_tokens is None or not tokens:
        return 1.0
    return min(1.0, SPARE * max_tokens / (found.census.characters * tokens / characters))


@dataclass(frozen=True)
class Words:
    """What makes token ids of texts."""

    tokenizer: str
    """As JSON."""
    separator: int
    dtype: str
    all_cores: bool = True
    """Whether threads on all cores of the machine may work, or one alone."""


def words_of(tokenizer: PreTrainedTokenizerBase) -> Words:
    """Of a tokenizer."""
    return Words(plain(tokenizer).to_str(), frame(tokenizer)[1], np.dtype(dtype_of(tokenizer)).str)


def write_shards(
    stream: Stream,
    source: TextSource,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    characters: float,
    say: Say,
) -> list[Path]:
    """Tokenise what is missing of a stream of so many characters; the files of all shards."""
    words = words_of(tokenizer)
    paths: list[Path] = []
    started = said = time.time()
    done = read = number = 0

    def tell(batch_characters: int, tokens: int) -> None:
        nonlocal said, done, read
        now, read, done = time.time(), read + batch_characters, done + tokens
        if now - said > PROGRESS_EVERY_S:
            said, left = now, characters - number * stream.shard_characters - read % stream.shard_characters
            rate = f"{done / (now - started):,.0f} tokens/s"
            say(f"corpus: {done:,} tokens, {rate}, about {duration((now - started) / read * max(0, left))} left")

    for number, pieces in stream.shards(source.train()):
        path = shard_path(folder, number)
        paths.append(path)
        if not path.is_file():
            save_shard(path, ids_of_shard(pieces, number, words, tell))
    return paths


def ids_of_shard(
    pieces: Iterable[tuple[bool, str]],
    number: int,
    words: Words,
    tell: Callable[[int, int], None] = lambda characters, tokens: None,
) -> np.ndarray:
    """The token ids of the pieces of a shard; characters and tokens are told batch by batch."""
    backend, separator = backend_of(words.tokenizer), words.separator
    parts: list[np.ndarray] = []
    for batch in batches(pieces):
        tokens = 0
        found = ids_of([text for _, text in batch], backend, words.all_cores)
        for (begins, _), ids in zip(batch, found, strict=True):
            if begins and len(ids) and (parts[-1][-1] != separator if parts else number):
                parts.append(np.array([separator], words.dtype))
            if len(ids):
                parts.append(np.array(ids, words.dtype))
                tokens += len(ids)
        tell(sum(len(text) for _, text in batch), tokens)
    return np.concatenate(parts) if parts else np.zeros(0, words.dtype)


@lru_cache(maxsize=1)
def backend_of(tokenizer: str) -> Tokenizer:
    """A tokenizer of its JSON, kept for the next shard."""
    return Tokenizer.from_str(tokenizer)


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"{number:06d}.npy"


def save_shard(path: Path, ids: np.ndarray) -> None:
    """Whole or not at all."""
    with new_file(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, ids)


@dataclass(frozen=True)
class Cutters:
    """Who counts the texts of a corpus, and who tokenises them."""

    survey: Callable[[TextSource], Survey]
    write_shards: Callable[[Stream, TextSource, Path, PreTrainedTokenizerBase, float, Say], list[Path]]


def alone(source: TextSource) -> Cutters:
    """This process, with threads on all cores."""
    return Cutters(survey, write_shards)


def write_blocks(
    shards: Sequence[Path], target: Path, tokenizer: PreTrainedTokenizerBase, length: int, most: int | None
) -> np.ndarray:
    """All shards as blocks, mapped; where they are more than `most`, so many of them, spread over all."""
    first, last = frame(tokenizer)
    inner = length - len(first) - 1
    sizes = [len(ids) for ids in texts_apart(shards, last)]
    count = sum(sizes) // inner
    chosen = np.arange(count) if most is None or most >= count else np.linspace(0, count - 1, most).round().astype(int)
    dtype = np.dtype(dtype_of(tokenizer))
    rest, passed = np.zeros(0, dtype), 0
    with target.open("wb") as file:  # not through a map, whose pages would count as this process's memory
        about = {"descr": dtype.str, "fortran_order": False, "shape": (len(chosen), length)}
        np.lib.format.write_array_header_1_0(file, about)
        for ids in texts_apart(shards, last):
            body = np.concatenate([rest, ids])
            rows = body[: len(body) // inner * inner].reshape(-1, inner)
            rest = body[rows.size :]
            start, stop = np.searchsorted(chosen, [passed, passed + len(rows)])
            part = np.empty((stop - start, length), dtype)
            part[:, : len(first)], part[:, -1] = first, last
            part[:, len(first) : -1] = rows[chosen[start:stop] - passed]
            file.write(part.data)
            passed += len(rows)
    return np.load(target, mmap_mode="r")


def in_turn(file: Path, rows: int) -> Iterator[np.ndarray]:
    """The blocks of a file, so many at a time, each part mapped anew: what has been read leaves the memory."""
    for start in range(0, len(np.load(file, mmap_mode="r")), rows):
        yield np.load(file, mmap_mode="r")[start : start + rows]


def texts_apart(shards: Sequence[Path], separator: int) -> Iterator[np.ndarray]:
    """The token ids of each shard, with one separator after each text, the last one of all included."""
    before = separator
    for path in shards:
        ids = np.load(path, mmap_mode="r")
        if len(ids) and ids[0] == separator == before:  # a text begins there, and nothing stands before it
            ids = ids[1:]
        if len(ids):
            before = int(ids[-1])
            yield ids
    if before != separator:
        yield np.array([separator])


def batches(pieces: Iterable[tuple[bool, str]]) -> Iterator[list[tuple[bool, str]]]:
    """Pieces together, as many as go into one call of the tokenizer."""
    batch: list[tuple[bool, str]] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece[1])
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def plain(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The tokenizer itself, without what the last call has set."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return backend


def ids_of(texts: Sequence[str], backend: Tokenizer, all_cores: bool = True) -> list[list[int]]:
    """Token ids of each text without special tokens."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = str(all_cores).lower()  # asked at every call
    try:
        return [each.ids for each in backend.encode_batch_fast(list(texts), add_special_tokens=False)]
    finally:
        os.environ.pop("TOKENIZERS_PARALLELISM")
        os.environ.update({} if before is None else {"TOKENIZERS_PARALLELISM": before})


@contextmanager
def shards_of(key: str) -> Iterator[Path]:
    """The folder of the shards of a corpus, for one process at a time; it goes when they have become blocks.

    Shards stay after an end that is not the corpus' fault.
    """
    folder = cache_folder() / "shards" / key
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    except SpecError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)
