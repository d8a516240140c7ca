"""How long the texts of tasks are: what latency depends on where students will run."""

from collections.abc import Sequence

import numpy as np

from trainables.tasks.data import TaskData

TEXTS = ("text", "text2")


def typical_lengths(tasks: Sequence[TaskData], count: int) -> tuple[int, ...]:
    """Lengths in tokens that stand for the texts of the dev splits, each task counting the same.

    They are the middles of `count` parts of the distribution, in an order that is random and always the same.
    """
    shares_N = (np.arange(count) + 0.5) / count
    by_task = [
        np.quantile(
            np.concatenate([split.views[name].lengths() for name in TEXTS if name in split.views]),
            shares_N,
            method="nearest",
        )
        for split in (task.splits["dev"] for task in tasks)
    ]
    lengths_N = np.quantile(np.concatenate(by_task), shares_N, method="nearest")
    return tuple(int(each) for each in np.random.default_rng(0).permutation(lengths_N))
