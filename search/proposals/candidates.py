"""The draws that a next trial is chosen from, and the choice.

The sampler draws one configuration and chance some more, at a small part of the cost; the model of model.py says which
of them promises most.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from search.proposals.drawing import Drawn, Told, Written, sampler_of, study_of
from search.proposals.observations import Costs, Memory
from search.proposals.surrogate import choose_candidate
from search.store.history import Running
from spaces.records.fronts import costs_of_rows
from spaces.records.objectives import Objective


class Candidates:
    """What is drawn from a space, and how draws are compared before and while they run."""

    def __init__(
        self,
        costs: Costs,
        memory: Memory,
        sampler: str,
        objectives: Sequence[Objective],
        number: int,
        reference: Mapping[str, Any],
    ) -> None:
        self.costs, self.memory, self.sampler, self.number = costs, memory, sampler, number
        self.objectives = objectives
        self._modelled = [i for i, o in enumerate(objectives) if o.name == "quality" or o.direction == "min"]
        """Columns that the model of model.py knows: quality and the costs."""
        self._quality_column = [objectives[i].name for i in self._modelled].index("quality")
        known = [reference.get(o.column) for o in objectives if o.direction == "min"]
        self._reference_K = np.array([np.nan if value is None else value for value in known], dtype=float)

    def of(
        self, seed: Sequence[int], branch: Mapping[str, Any] | None, told: Sequence[Told], running: Sequence[Written]
    ) -> Iterator[Any]:
        """Trials to ask the space with: the sampler's, and random ones, which widen the choice."""
        yield study_of(told, running, self.objectives, sampler_of(self.sampler, seed, branch)).ask()
        for candidate in range(1, self.number):
            yield Drawn(np.random.default_rng([*seed, candidate]), branch or {})

    def choose(
        self, fresh: Mapping[str, Mapping[str, Any]], live: Sequence[Running], running: Sequence[Mapping[str, Any]]
    ) -> str:
        """The hash of the draw that promises most, beside what has ended and what `running` will bring."""
        if len(fresh) == 1:
            return next(iter(fresh))
        best = choose_candidate(
            list(fresh.values()), self._known_costs(list(fresh.values())), self.memory.seen(live), running,
            self._known_costs(running), self.memory.front_MK[:, self._modelled], self._quality_column,
            self._reference_K,
        )  # fmt: skip
        return list(fresh)[best]

    def rung_costs(self, config: Mapping[str, Any], quality: float) -> list[float]:
        """What trials are compared by at a rung: quality there, and the costs known before they ran."""
        return costs_of_rows([{**self.costs(config), "quality": quality}], self.objectives)[0].tolist()

    def _known_costs(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(configurations, modelled objectives); quality, which nobody knows, is 0."""
        rows = [{**self.costs(config), "quality": 0.0} for config in configs]
        return costs_of_rows(rows, [self.objectives[i] for i in self._modelled])
