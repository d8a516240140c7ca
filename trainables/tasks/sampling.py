"""Random orders of rows that keep groups in their proportions, one stream of numbers for each seed and purpose."""

import numpy as np

from trainables.text.ragged import Ragged

TARGET_GROUPS = 10


def stratified_order(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of which every beginning has the strata in their proportions, as nearly as whole numbers allow."""
    shuffled = rng.permutation(len(strata))
    positions = np.empty(len(strata))
    for stratum in np.unique(strata):
        members = strata[shuffled] == stratum
        positions[members] = (np.arange(members.sum()) + 0.5) / members.sum()
    return shuffled[np.argsort(positions, kind="stable")]


def generator(seed: int, purpose: str) -> np.random.Generator:
    """One stream per seed and purpose."""
    return np.random.default_rng([seed, *purpose.encode()])


def by_class(labels: Ragged) -> np.ndarray:
    """The group of each row is its class."""
    return np.asarray(labels.values)


def by_tenth(labels: Ragged) -> np.ndarray:
    """The group of each row is the tenth that its target falls into."""
    ranks = np.argsort(np.argsort(labels.values, kind="stable"), kind="stable")
    return ranks * TARGET_GROUPS // max(1, len(labels))


def as_one(labels: Ragged) -> np.ndarray:
    """All rows are one group."""
    return np.zeros(len(labels), dtype=np.int64)
