"""`text_ms`: what a text takes among many that wait, the reciprocal of texts a second.

Whoever embeds many texts sorts them by length, so that batches are hardly padded.
"""

from collections.abc import Mapping

import numpy as np

from spaces.records.costs import THROUGHPUT, Subject
from trainables.export.timing import time_passes

BATCHES = 4
"""Of texts that differ in length."""


def throughput_columns(subject: Subject) -> Mapping[str, float | None]:
    """Milliseconds per text over full batches of like length, on the threads of the latency; None where not asked."""
    size = subject.latency.throughput_batch
    if size is None or subject.passes is None:
        return {THROUGHPUT.column: None}
    batches = like_lengths(subject.lengths or (subject.latency.sequence_length,), size)
    one_batch = subject.passes(batches)
    found = time_passes(lambda: [one_batch() for _ in batches], alone=False)
    return {THROUGHPUT.column: found.p50_ms / sum(map(len, batches))}


def like_lengths(lengths: tuple[int, ...], size: int) -> list[list[int]]:
    """Batches of so many texts each that have these lengths, shortest first; one where all are the same."""
    count = size * (BATCHES if len(set(lengths)) > 1 else 1)
    sorted_N = np.quantile(lengths, (np.arange(count) + 0.5) / count, method="nearest")
    return sorted_N.astype(int).reshape(-1, size).tolist()
