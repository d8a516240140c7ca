"""How long the texts of tasks are: what latency depends on where students will run."""

from collections.abc import Sequence

import numpy as np

from trainables.tasks.data import TaskData

TEXTS, PAIRS = ("text", "text2"), ("pair",)
"""The views that are read, and those that a model which scores pairs reads."""


def typical_lengths(tasks: Sequence[TaskData], count: int) -> tuple[int, ...]:
    """Lengths in tokens that stand for the texts of the dev splits, each task counting the same.

    They are the middles of `count` parts of the distribution, in an order that is random and always the same.
    """
    shares_N = (np.arange(count) + 0.5) / count
    by_task = [
        np.quantile(
            np.concatenate([split.views[name].lengths() for name in read if name in split.views]),
            shares_N,
            method="nearest",
        )
        for split, read in ((task.splits["dev"], PAIRS if "pairs" in task.meta else TEXTS) for task in tasks)
    ]
    lengths_N = np.quantile(np.concatenate(by_task), shares_N, method="nearest")
    return tuple(int(each) for each in np.random.default_rng(0).permutation(lengths_N))
