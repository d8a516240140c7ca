"""The sampler `grid`: every configuration of a space once, in an order that the seed shuffles."""

from typing import Any

import numpy as np

from search.proposals.searched import Searched
from search.store.history import History
from spaces.errors import InfeasibleConfig
from spaces.space.search_space import config_hash


class Grid:
    """A walk through a space whose axes are lists."""

    def __init__(self, searched: Searched, history: History) -> None:
        self.searched, self.history = searched, history
        configs = list(searched.space.enumerate())
        order = np.random.default_rng([searched.seed]).permutation(len(configs))
        self._left = [configs[i] for i in order]

    def next(self) -> dict[str, Any] | None:
        """The next configuration that may run and has not; None when there is none. Those that may not are recorded."""
        seed = self.searched.seed
        while self._left:
            config = self._left.pop()
            if config_hash(config, seed) in self.history.known:
                continue
            try:
                self.searched.check(config)
            except InfeasibleConfig as error:
                self.history.record_infeasible(config, seed, str(error))
                continue
            return config
        return None
