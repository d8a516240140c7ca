"""A corpus of any size as blocks, in bounded memory: read as a stream, tokenised shard by shard, packed into one file.

The texts are read twice: first they are counted, which says what is held out and how large a sample is, then they are
tokenised, by as many threads as there are cores. A shard is the token ids of about SHARD_CHARACTERS of text (a .npy of
one axis), written whole under `shards` in the cache; a run that was killed goes on with the shards that are there.
Where a shard begins depends on the text alone, so the blocks are the same however many threads there are and however
often a run was stopped. At the end the shards become one file of blocks (N, sequence_length), and are deleted.
"""

import fcntl
import heapq
import itertools
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.telling import PROGRESS_EVERY_S, Say, duration
from trainables.cache import cache_folder, new_file
from trainables.text.held_out import Census, HeldOut, bucket_of
from trainables.text.packing import PIECE, dtype_of, frame, pieces_of
from trainables.text.sources import TextSource

SHARD_CHARACTERS = 16_000_000
BATCH_CHARACTERS = 1_000_000
"""Of one call of the tokenizer."""
SAMPLE_PIECE = 1000
"""Characters of the pieces that a sample is made of."""
SPARE = 1.05
"""A sample is taken so much larger than it is to be: how many tokens a character makes is known from some texts."""
PROBED, PROBED_CHARACTERS = 256, 2000


@dataclass(frozen=True)
class Survey:
    """What counting the texts has found."""

    census: Census
    probed: list[str]
    """Beginnings of texts from all over the corpus."""


def survey(source: TextSource) -> Survey:
    """Count the texts of a corpus. Raises SpecError where there are none."""
    census, probed = Census(), list[tuple[int, int, str]]()
    for number, text in enumerate(source.train()):
        entry = (census.count(text), number, text[:PROBED_CHARACTERS])
        if len(probed) < PROBED:
            heapq.heappush(probed, entry)
        elif entry > probed[0]:
            heapq.heapreplace(probed, entry)
    source.refuse_empty(census.texts)
    return Survey(census, [text for *_, text in probed])


@dataclass
class Stream:
    """The pieces of a corpus to train on, in their order; what is met on the way is counted and kept."""

    source: TextSource
    rule: HeldOut | None = None
    """None: the corpus has files to hold out."""
    kept: HeldOut | None = None
    """Of what the rule holds out, what is kept."""
    share: float = 1.0
    """Of all characters, how many are taken, in pieces that are spread evenly."""
    held_out: set[str] = field(default_factory=set)
    texts: int = 0

    def pieces(self) -> Iterator[tuple[bool, str]]:
        """(whether a text begins here, or goes on after a gap; the piece) of what is taken."""
        size, credit = (PIECE if self.share >= 1 else SAMPLE_PIECE), 0.0
        for text in map(self._to_train_on, self.source.train()):
            self.texts += bool(text)
            begins = True
            for piece in pieces_of(text, size) if text else ():
                credit += self.share * len(piece)
                taken = self.share >= 1 or credit >= len(piece) / 2
                if taken:
                    credit -= len(piece)
                    yield begins, piece
                begins = not taken

    def _to_train_on(self, text: str) -> str:
        if self.rule is None or self.kept is None or (bucket := bucket_of(text)) > self.rule.last:
            return text
        train, held_out = self.rule.cut(text)
        if bucket <= self.kept.last:
            self.held_out.add(held_out)
        return train

    def shards(self) -> Iterator[tuple[int, Iterator[tuple[bool, str]]]]:
        """(number, pieces) of each shard."""
        passed = 0

        def number(piece: tuple[bool, str]) -> int:
            nonlocal passed
            passed += len(piece[1])
            return (passed - len(piece[1])) // SHARD_CHARACTERS

        return itertools.groupby(self.pieces(), number)


def share_of(found: Survey, tokenizer: PreTrainedTokenizerBase, max_tokens: int | None) -> float:
    """How much of a corpus is taken for so many tokens; 1: all."""
    characters = sum(map(len, found.probed))
    tokens = sum(map(len, ids_of(found.probed, plain(tokenizer))))
    if max_tokens is None or not tokens:
        return 1.0
    return min(1.0, SPARE * max_tokens / (found.census.characters * tokens / characters))


def write_shards(
    stream: Stream, folder: Path, tokenizer: PreTrainedTokenizerBase, characters: float, say: Say
) -> list[Path]:
    """Tokenise what is missing of a stream of so many characters; the files of all shards."""
    backend, separator, dtype = plain(tokenizer), frame(tokenizer)[1], dtype_of(tokenizer)
    paths: list[Path] = []
    started = said = time.time()
    done = read = 0
    for number, pieces in stream.shards():
        path = folder / f"{number:06d}.npy"
        paths.append(path)
        if path.is_file():
            continue
        parts: list[np.ndarray] = []
        for batch in batches(pieces):
            read += sum(len(text) for _, text in batch)
            for (begins, _), ids in zip(batch, ids_of([text for _, text in batch], backend), strict=True):
                if begins and len(ids) and (parts[-1][-1] != separator if parts else number):
                    parts.append(np.array([separator], dtype))
                if len(ids):
                    parts.append(np.array(ids, dtype))
                    done += len(ids)
            now = time.time()
            if now - said > PROGRESS_EVERY_S:
                said, left = now, characters - number * SHARD_CHARACTERS - read % SHARD_CHARACTERS
                rate = f"{done / (now - started):,.0f} tokens/s"
                say(f"corpus: {done:,} tokens, {rate}, about {duration((now - started) / read * max(0, left))} left")
        with new_file(path) as unfinished, unfinished.open("wb") as file:
            np.save(file, np.concatenate(parts) if parts else np.zeros(0, dtype))
    return paths


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


def ids_of(texts: Sequence[str], backend: Tokenizer) -> list[list[int]]:
    """Token ids of each text without special tokens, by all cores."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # asked at every call; workers of trials keep to their own core
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
