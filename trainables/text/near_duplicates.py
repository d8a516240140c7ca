"""Texts that say nearly what an earlier one says are left out, in bounded memory.

Two texts are as alike as their shingles are: runs of three words, or of characters where words are not written apart.
The package rensa makes a MinHash signature of each text (Broder 1997), of which equal places estimate the Jaccard
similarity. Signatures lie in a file; texts that share a band of theirs are compared (locality-sensitive hashing;
Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3). A band at a time is in memory, 8 bytes a text.
"""

import importlib
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import IO

import numpy as np

from spaces.errors import SpecError
from spaces.telling import PROGRESS_EVERY_S, Say
from trainables.cache import cache_folder

PLACES = 128
"""Of a signature; the error of a similarity is sqrt(s (1 - s) / PLACES), 0.035 at 0.8."""
SHINGLE = 3
"""Words, or characters of a script without spaces."""
CHUNK = 4096
"""Texts whose signatures are compared at a time."""
MISSED = 0.9
"""Weight of pairs that no band shows against those that are compared in vain, where bands are chosen."""
NOT_APART = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
"""Thai, Japanese and Chinese characters."""
UNITS = re.compile(rf"[{NOT_APART}]|[^\W{NOT_APART}]+")
MISSING = "[corpus] near_duplicates needs the package rensa: pip install 'stillhouse[dedup]'"


def near_duplicates(texts: Iterable[str], similarity: float, say: Say) -> np.ndarray:
    """Which texts are at least so similar to an earlier one, (number,), true for those.

    Of the texts that share a band with one, the first and the one before it are compared with it. Raises SpecError
    where the package is missing.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        number = write_signatures(texts, file, say)
        file.flush()
        if not number:
            return np.zeros(0, dtype=bool)
        signs_NP = np.memmap(file, np.uint32, "r", shape=(number, PLACES))
        dropped_N = np.zeros(number, dtype=bool)
        bands, rows = bands_of(similarity)
        for band in range(bands):
            key_N = keys_of(signs_NP, slice(band * rows, (band + 1) * rows))
            for earlier_C, later_C in candidates(key_N):
                fresh_C = ~dropped_N[later_C]
                earlier_C, later_C = earlier_C[fresh_C], later_C[fresh_C]
                alike_C = (signs_NP[earlier_C] == signs_NP[later_C]).mean(axis=1) >= similarity
                dropped_N[later_C[alike_C]] = True
    return dropped_N


def write_signatures(texts: Iterable[str], file: IO[bytes], say: Say) -> int:
    """The signature of each text, one after the other, as uint32; how many there are."""
    try:
        minhash = importlib.import_module("rensa").RMinHash
    except ImportError as error:
        raise SpecError([MISSING]) from error
    number, said = 0, time.time()
    for text in texts:
        sign = minhash(num_perm=PLACES, seed=0)
        sign.update(shingles(text))
        file.write(np.asarray(sign.digest(), np.uint32).tobytes())
        number += 1
        if time.time() - said > PROGRESS_EVERY_S:
            said = time.time()
            say(f"corpus: {number:,} texts read to find near duplicates")
    return number


def shingles(text: str) -> list[str]:
    """Runs of SHINGLE words or characters, without regard to case and punctuation; a shorter text is one."""
    units = UNITS.findall(text.lower())
    return [" ".join(units[start : start + SHINGLE]) for start in range(max(1, len(units) - SHINGLE + 1))]


@cache
def bands_of(similarity: float) -> tuple[int, int]:
    """(bands, rows of each) under which texts of so much similarity are best told from others.

    Two texts of similarity s share a band with probability 1 - (1 - s^rows)^bands.
    """

    def loss(rows: int) -> float:
        at = (np.arange(200) + 0.5) / 200
        seen = 1.0 - (1.0 - at**rows) ** (PLACES // rows)
        return float((1 - MISSED) * seen[at < similarity].sum() + MISSED * (1.0 - seen[at >= similarity]).sum())

    rows = min(range(1, 33), key=loss)
    return PLACES // rows, rows


def keys_of(signs_NP: np.ndarray, band: slice) -> np.ndarray:
    """A number for each text, the same for texts that are equal in a band, (N,); others share one by rare chance."""
    key_N = np.zeros(len(signs_NP), dtype=np.uint64)
    for start in range(0, len(signs_NP), CHUNK):
        part_CR = signs_NP[start : start + CHUNK, band].astype(np.uint64)
        for column_C in part_CR.T:
            key_N[start : start + CHUNK] = (key_N[start : start + CHUNK] ^ column_C) * np.uint64(0x9E3779B97F4A7C15)
            key_N[start : start + CHUNK] ^= key_N[start : start + CHUNK] >> np.uint64(29)
    return key_N


def candidates(key_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(earlier, later) texts of equal key, some at a time: each with the first of its key and with the one before."""
    order_N = np.argsort(key_N, kind="stable")  # of equal keys in the order of the texts
    same_M = key_N[order_N[1:]] == key_N[order_N[:-1]]
    first_N = np.maximum.accumulate(np.where(np.concatenate([[True], ~same_M]), np.arange(len(order_N)), 0))
    places_C = np.flatnonzero(same_M) + 1
    for start in range(0, len(places_C), CHUNK):
        at_C = places_C[start : start + CHUNK]
        yield order_N[first_N[at_C]], order_N[at_C]
        yield order_N[at_C - 1], order_N[at_C]
