"""What of a corpus is taken to train on: its texts counted first, then the pieces of them, in their order."""

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from trainables.text.held_out import Census, HeldOut, bucket_of
from trainables.text.packing import PIECE, pieces_of
from trainables.text.sources import TextSource

SHARD_CHARACTERS = 16_000_000
SAMPLE_PIECE = 1000
"""Characters of the pieces that a sample is made of."""
PROBED, PROBED_CHARACTERS = 256, 2000


@dataclass(frozen=True)
class Survey:
    """What counting the texts has found."""

    census: Census = field(default_factory=Census)
    probed: list[tuple[int, int, str]] = field(default_factory=list)
    """(bucket, number, beginning) of texts from all over the corpus: those with the largest hashes."""


def survey(source: TextSource) -> Survey:
    """Count the texts of a corpus. Raises SpecError where there are none."""
    found = counted(source.train())
    source.refuse_empty(found.census.texts)
    return found


def counted(texts: Iterable[str]) -> Survey:
    """Of some texts."""
    found = Survey()
    for number, text in enumerate(texts):
        entry = (found.census.count(text), number, text[:PROBED_CHARACTERS])
        if len(found.probed) < PROBED:
            heapq.heappush(found.probed, entry)
        elif entry > found.probed[0]:
            heapq.heapreplace(found.probed, entry)
    return found


def joined(surveys: Iterable[Survey]) -> Survey:
    """Of the texts of all of them, one after the other."""
    whole = Survey()
    for each in surveys:
        later = [(bucket, whole.census.texts + number, text) for bucket, number, text in each.probed]
        whole.probed[:] = heapq.nlargest(PROBED, [*whole.probed, *later])
        whole.census.add(each.census)
    return whole


@dataclass
class Stream:
    """What is taken of a corpus to train on; what is met on the way is counted and kept."""

    rule: HeldOut | None = None
    """None: the corpus has files to hold out."""
    kept: HeldOut | None = None
    """Of what the rule holds out, what is kept."""
    share: float = 1.0
    """Of all characters, how many are taken, in pieces that are spread evenly."""
    held_out: set[str] = field(default_factory=set)
    texts: int = 0
    passed: int = 0
    """Characters that were taken so far."""
    credit: float = 0.0
    """Of a sample: characters that it is short of."""
    shard_characters: int = field(default_factory=lambda: SHARD_CHARACTERS)

    def pieces(self, texts: Iterable[str]) -> Iterator[tuple[bool, str]]:
        """(whether a text begins here, or goes on after a gap; the piece) of what is taken."""
        for pieces in self.cut(texts):
            begins = True
            for piece in pieces:
                taken = self.takes(len(piece))
                if taken:
                    yield begins, piece
                begins = not taken

    def cut(self, texts: Iterable[str]) -> Iterator[Iterator[str]]:
        """The pieces of each text that may be taken."""
        size = PIECE if self.share >= 1 else SAMPLE_PIECE
        for text in filter(None, map(self._to_train_on, texts)):
            self.texts += 1
            yield pieces_of(text, size)

    def takes(self, size: int) -> bool:
        """Whether the next piece, of so many characters, is taken; which is counted."""
        if self.share < 1:
            self.credit += self.share * size
            if self.credit < size / 2:
                return False
            self.credit -= size
        self.passed += size
        return True

    def _to_train_on(self, text: str) -> str:
        if self.rule is None or self.kept is None or (bucket := bucket_of(text)) > self.rule.last:
            return text
        train, held_out = self.rule.cut(text)
        if bucket <= self.kept.last:
            self.held_out.add(held_out)
        return train

    def shards(self, texts: Iterable[str]) -> Iterator[tuple[int, Iterator[tuple[bool, str]]]]:
        """(number, pieces) of each shard; where the stream stands on a place within a corpus, of those that follow."""
        return itertools.groupby(
            self.pieces(texts), lambda piece: (self.passed - len(piece[1])) // self.shard_characters
        )
