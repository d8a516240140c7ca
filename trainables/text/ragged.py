"""Lists of numbers of different lengths, stored one after the other: token ids of texts, labels of rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Lists of numbers, one after the other: list i is values[offsets[i]:offsets[i + 1]]."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def lengths(self) -> np.ndarray:
        """Numbers in each list."""
        return np.diff(self.offsets)

    def indices(self, lists: np.ndarray) -> np.ndarray:
        """Where in `values` the numbers of these lists stand, one list after the other."""
        lengths = self.lengths()[lists]
        ends = np.cumsum(lengths)
        return np.arange(lengths.sum()) + np.repeat(np.asarray(self.offsets)[lists] - (ends - lengths), lengths)

    def take(self, lists: np.ndarray) -> "Ragged":
        """These lists, in memory."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths()[lists])]).astype(np.int64)
        return Ragged(np.asarray(self.values)[self.indices(lists)], offsets)


def ragged(lists: Sequence[Any], dtype: Any) -> Ragged:
    """Lists of numbers in memory."""
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in lists])]).astype(np.int64)
    return Ragged(np.fromiter((i for each in lists for i in each), dtype, int(offsets[-1])), offsets)


def one_each(values: np.ndarray) -> Ragged:
    """Lists of one number each."""
    return Ragged(values, np.arange(len(values) + 1, dtype=np.int64))
