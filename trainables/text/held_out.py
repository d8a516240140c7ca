"""What of a corpus is held out where no file of it is: texts by the hash of what they say, or the end of a long one.

The hash makes the same text fall on the same side wherever it stands, however often, and whatever else the corpus has;
and a corpus of any size is divided by reading its texts one after the other.
"""

import hashlib
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

HELD_OUT_EVERY = 50
"""One part in so many is held out; more of a small corpus."""
CHARACTERS_PER_TOKEN = 8
"""At the most, of ordinary text: so that what is held out fills a block."""
NEAR = 1000
"""A text is cut at white space, if there is some within so many characters."""
BUCKETS = 2**16
LISTED, LONG = 100_000, 4096
"""Of the first texts of a corpus, and of those with so many characters, each is counted by itself."""


@dataclass(frozen=True)
class HeldOut:
    """Which texts are held out."""

    last: int
    """Texts are sorted into BUCKETS by their hashes; those up to this one are held out."""
    limit: int
    """Characters; of a longer text only the end is held out, and the rest trains."""
    sizes: np.ndarray
    """Characters that each bucket would hold out."""

    def split(self, text: str) -> tuple[str, str]:
        """(what of a text trains, what of it is held out)"""
        return (text, "") if bucket_of(text) > self.last else self.cut(text)

    def cut(self, text: str) -> tuple[str, str]:
        """The same of a text that is known to be held out, or its end."""
        place = cut_place(text, len(text) - self.limit)
        return text[:place].rstrip(), text[place:].strip()

    def up_to(self, characters: int) -> "HeldOut":
        """So many characters of what is held out, or all: those with the smallest hashes."""
        last = int(np.searchsorted(np.cumsum(self.sizes), characters))
        return HeldOut(min(self.last, last), self.limit, self.sizes)


class Census:
    """The characters of a corpus, by the hashes of its texts."""

    def __init__(self) -> None:
        self.texts = self.characters = 0
        self.buckets, self.lengths = array("H"), array("q")
        self.rest = np.zeros(BUCKETS, np.int64)

    def count(self, text: str) -> int:
        """One more text; its bucket."""
        bucket = bucket_of(text)
        self.texts += 1
        self.characters += len(text)
        if self.texts <= LISTED or len(text) >= LONG:
            self.buckets.append(bucket)
            self.lengths.append(len(text))
        else:
            self.rest[bucket] += len(text)
        return bucket

    def add(self, later: "Census") -> None:
        """The texts of another census after those of this one, as if they had been counted here."""
        buckets, lengths = np.asarray(later.buckets), np.asarray(later.lengths)
        listed = lengths >= LONG
        listed[: max(0, LISTED - self.texts)] = True  # the first LISTED of the other are listed there
        self.rest += later.rest
        np.add.at(self.rest, buckets[~listed], lengths[~listed])
        self.buckets.extend(buckets[listed].tolist())
        self.lengths.extend(lengths[listed].tolist())
        self.texts += later.texts
        self.characters += later.characters

    def held_out(self, at_least: int) -> HeldOut:
        """A fiftieth of all characters, or more: as many as `at_least`, as long as that is not more than half."""
        every = min(HELD_OUT_EVERY, max(2, self.characters // max(1, at_least)))
        limit = max(1, self.characters // every)
        sizes = self.rest.copy()
        np.add.at(sizes, np.asarray(self.buckets), np.minimum(np.asarray(self.lengths), limit))
        return HeldOut(min(int(np.searchsorted(np.cumsum(sizes), limit)), BUCKETS - 1), limit, sizes)


def bucket_of(text: str) -> int:
    """Which of the BUCKETS a text falls into."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=2).digest(), "big")


def hold_out(texts: Sequence[str], at_least: int) -> tuple[list[str], list[str]]:
    """(texts to train on, texts held out, sorted and each once)."""
    parts = [rule.split(text) for rule in [rule_of(texts, at_least)] for text in texts]
    return [train for train, _ in parts if train], sorted({held_out for _, held_out in parts if held_out})


def rule_of(texts: Iterable[str], at_least: int) -> HeldOut:
    """What is to be held out of these texts."""
    census = Census()
    for text in texts:
        census.count(text)
    return census.held_out(at_least)


def cut_place(text: str, place: int) -> int:
    """Where a text is cut in two, at this place or at the first white space before it; 0: not at all."""
    if place <= 0:
        return 0
    start = max(0, place - NEAR)
    spaces = [found.start() for found in re.finditer(r"\s", text[start:place])]
    return start + spaces[-1] if spaces else (0 if place <= NEAR else place)
