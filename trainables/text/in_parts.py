"""The shards of a corpus of files, made in calls that need nothing of one another: by the workers of a cluster.

First each fragment of the files is counted, then it is measured: how long the pieces are that may be taken. From that
the driver knows where each shard begins, and what of the sample is taken there; then each shard is tokenised. Shards,
their names and their bytes are those that one process writes from the stream of all texts (shards.py): either goes on
where the other was stopped.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.telling import Say
from trainables.text.fragments import Fragment, texts_of
from trainables.text.shards import Cutters, Words, ids_of_shard, save_shard, shard_path, words_of
from trainables.text.sources import TextSource
from trainables.text.stream import Stream, Survey, counted, joined, survey


class Run(Protocol):
    """Makes calls, wherever that is; gives what `keep` makes of the number and the result of each, in their order."""

    def __call__(
        self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], what: str, keep: Callable[[int, Any], Any]
    ) -> Iterator[Any]:
        """what: are counted, in a line now and then."""
        ...


@dataclass(frozen=True)
class Measured:
    """What of a fragment may be trained on, and what of it is held out."""

    texts: int
    held_out: set[str]
    sizes: np.ndarray
    """Characters of each piece."""


def in_parts(fragments: Sequence[Fragment], column: str, run: Run) -> Cutters:
    """Whoever runs the calls counts the texts of these fragments and writes their shards."""
    how = fragments, column, run
    return Cutters(partial(survey_in_parts, *how), partial(write_in_parts, *how))


def survey_in_parts(fragments: Sequence[Fragment], column: str, run: Run, source: TextSource) -> Survey:
    """Count the texts. Raises SpecError where there are none, or for the first text that cannot be read."""
    try:
        found = joined(run(partial(count_part, column), [(each,) for each in fragments], "parts counted", kept))
    except SpecError:  # of whichever part was first, with the lines of that part
        return survey(source)
    source.refuse_empty(found.census.texts)
    return found


def write_in_parts(
    fragments: Sequence[Fragment], column: str, run: Run,
    stream: Stream, source: TextSource, folder: Path, tokenizer: PreTrainedTokenizerBase, characters: float, say: Say,
) -> list[Path]:  # fmt: skip
    """Tokenise what is missing; the files of all shards."""
    alike, places = replace(stream, held_out=set()), list[tuple[int, float]]()
    parts = [(each,) for each in fragments]
    for found in run(partial(measure_part, column, alike), parts, "parts measured", kept):
        places.append((stream.passed, stream.credit))
        stream.texts += found.texts
        stream.held_out |= found.held_out
        for size in found.sizes.tolist():
            stream.takes(size)
    paths = [shard_path(folder, number) for number in range(-(-stream.passed // stream.shard_characters))]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    passed = [place for place, _ in places]
    calls = []
    for number in missing:
        first = bisect_right(passed, number * stream.shard_characters) - 1
        last = bisect_left(passed, (number + 1) * stream.shard_characters)
        calls.append((fragments[first:last], places[first], number))
    words = replace(words_of(tokenizer), all_cores=False)

    def keep(place: int, ids: np.ndarray) -> None:
        save_shard(paths[missing[place]], ids)

    for _ in run(partial(tokenise_part, column, alike, words), calls, "shards", keep):
        pass
    return paths


def kept(number: int, found: Any) -> Any:
    """A result as it is."""
    return found


def count_part(column: str, fragment: Fragment) -> Survey:
    """Of one fragment."""
    return counted(texts_of([fragment], column))


def measure_part(column: str, stream: Stream, fragment: Fragment) -> Measured:
    """Of one fragment."""
    own = replace(stream, held_out=set())
    sizes = np.fromiter((len(piece) for text in own.cut(texts_of([fragment], column)) for piece in text), np.uint16)
    return Measured(own.texts, own.held_out, sizes)


def tokenise_part(
    column: str,
    stream: Stream,
    words: Words,
    fragments: Sequence[Fragment],
    place: tuple[int, float],
    number: int,
) -> np.ndarray:
    """The token ids of a shard. `place`: what has been passed where the first of these fragments begins."""
    own = replace(stream, held_out=set(), passed=place[0], credit=place[1])
    for found, pieces in own.shards(texts_of(fragments, column)):
        if found >= number:
            return ids_of_shard(pieces if found == number else (), number, words)
    return ids_of_shard((), number, words)
