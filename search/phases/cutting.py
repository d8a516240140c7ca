"""Corpora that are cut by the workers of the cluster, one for each CPU, where these end sooner than the driver.

Workers need no disk in common with the driver: its files they read through it, those of an object store by themselves,
and what they return it writes. No worker holds more than a few megabytes of the text and one shard.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import ray

from search.tune.calls import on_workers, with_start
from search.tune.cluster import Room, workers
from search.tune.reading import through_driver
from spaces.telling import Say, announced
from trainables.lanes.settings import ClusterSpec
from trainables.text.in_parts import in_parts
from trainables.text.shards import Cutters, alone
from trainables.text.sources import TextSource

ONE_CORE = ClusterSpec(cpus_per_worker=1, gpus_per_worker=0)
"""A worker that cuts."""
READ_BYTES_PER_S, TOKENISED_BYTES_PER_S = 35e6, 1.5e6
"""Of text, by one core, about: 24 to 55 MB and 1.4 to 2.0 MB were measured, on Wikipedia and a busy machine."""
BYTES_PER_TOKEN = 4
PASSES, PASSES_ALONE = 4, 2
"""How often the text is read: counted, measured, and tokenised, for which a shard begins within a fragment."""
WORTH = 0.8
"""Workers are asked where they take no more than this of the driver's time."""


def cutters_of(say: Say, max_tokens: int | None, source: TextSource) -> Cutters:
    """Who cuts a corpus: the workers of the cluster, if there is one, or the driver alone. Workers are told of."""
    if not ray.is_initialized() or not (fragments := source.fragments()):
        return alone(source)
    size, places = sum(span.text_bytes for fragment in fragments for span in fragment), workers(ONE_CORE)
    if not sooner(size, max_tokens, places, len(os.sched_getaffinity(0))):
        return alone(source)
    say(f"corpus: {size / 1e6:,.0f} MB of text, cut by {places} worker{'s' * (places > 1)} of the cluster")
    return in_parts(through_driver(fragments), source.text_column, partial(run, say))


def sooner(text_bytes: float, max_tokens: int | None, places: int, own_cores: int) -> bool:
    """Whether so many workers, which have to start first, end well before the driver, which reads on one core."""
    taken = text_bytes if max_tokens is None else min(text_bytes, BYTES_PER_TOKEN * max_tokens)
    read_s, tokenised_s = text_bytes / READ_BYTES_PER_S, taken / TOKENISED_BYTES_PER_S
    alone_s = PASSES_ALONE * read_s + tokenised_s / own_cores
    return with_start(PASSES * read_s + tokenised_s, places) < WORTH * alone_s


def run(
    say: Say,
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    what: str,
    keep: Callable[[int, Any], Any],
) -> Iterator[Any]:
    """The calls of `in_parts` on workers."""
    room = Room(ONE_CORE)
    done = on_workers(function, calls, ONE_CORE, "the corpus could not be cut", keep, lambda: max(1, room()))
    for _ in announced(calls, f"corpus: {{}} {what}", say):
        yield next(done)
