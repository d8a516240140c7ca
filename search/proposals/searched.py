"""What a study searches: the space, what is better, how much may be spent, and how configurations are chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.proposals.spending import Allowance
from search.samplers.context import Config, Seen
from search.samplers.registry import HALVING
from spaces.errors import InfeasibleConfig
from spaces.records.fronts import costs_of, looked_up
from spaces.records.objectives import QUALITY, Aim
from spaces.space.prior import Prior
from spaces.space.search_space import SearchSpace

Costs = Callable[[Config], Mapping[str, Any]]
"""The cost columns of a configuration as far as they are known before it runs."""


@dataclass(frozen=True)
class Searched:
    """One search, whatever has come of it so far."""

    space: SearchSpace
    costs: Costs
    aim: Aim
    seed: int
    budget: int
    """Trials, without those of `final`."""
    train_tokens: int = 1
    """Of a trial that is not stopped."""
    sampler: str = "tpe"
    """A name of search/samplers/registry.py."""
    candidates: int = 1
    """Draws that a trial is chosen from; 1: without a model."""
    schedule: str = HALVING
    """A name of SCHEDULES: what is decided at rungs."""
    allowance: Allowance = field(default_factory=Allowance)
    """Beside the trials."""
    inherits: bool = False
    """Whether a trial may go on from the student of an earlier one."""
    final: int = 0
    """Trials at the end, which train the members of the front on."""
    final_allowance: Allowance = field(default_factory=Allowance)
    """What the search and those at its end may spend together."""
    stop_when: float = 0.0
    """The least hypervolume that an hour of one worker must be expected to add."""
    try_first: tuple[Config, ...] = ()
    """Configurations that are tried before any other."""
    prior: Prior | None = None
    """What is expected of the axes; None: nothing."""
    rung_tokens: tuple[int, ...] = ()
    """After which trials are compared."""
    rung_factor: int = 3
    """The best 1/factor of a rung go on."""
    protected: int = 0
    """Trials of each method that pass each rung whatever they score."""
    starts: tuple[Config, ...] = ()
    """Students as they are before training, which are scored before any trial trains; they count against no budget."""
    variants: Mapping[str, Costs] = field(default_factory=dict)
    """By further precision of [deploy], the costs in it: each is a further point of the front. They are scored at the
    end of a trial; rungs, limits before a trial and samplers of Optuna look at the first only."""
    precision: str | None = None
    """That `costs` and qualities are of, where there are further ones."""
    earlier: tuple[Seen, ...] = ()
    """What other studies know."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Columns that all rows share."""
    reference: Mapping[str, Any] = field(default_factory=dict)
    """Cost columns of the teacher: students that are no cheaper gain nothing."""

    def check(self, config: Config) -> None:
        """Raise InfeasibleConfig unless the space has it and the costs known before it runs are within the limits."""
        self.space.check(config)
        self.check_limits(config)

    def check_limits(self, config: Config) -> None:
        """Raise InfeasibleConfig where a cost that is known before it runs is above its limit."""
        costs = self.costs(config)
        for objective, limit in self.aim.limits.items():
            value = costs.get(objective.column)
            if value is not None and value > limit:
                raise InfeasibleConfig(f"{objective.name} {value:,.6g} is above the limit of {limit:,.6g}")

    def known(self, config: Config, precision: str | None = None) -> list[float | None]:
        """The objectives that are known before a configuration runs, in a further precision if told."""
        costs = self.costs(config) if precision is None else self.variants[precision](config)
        return [costs.get(objective.column) for objective in self.aim.objectives]

    def worst(self) -> list[float | None]:
        """What a student must be better than to count: the teacher's costs."""
        return [self.reference.get(o.column) if o.direction == "min" else None for o in self.aim.objectives]

    def rung_costs(self, config: Config, quality: float) -> Sequence[float]:
        """What trials are compared by at a rung: quality there, and the costs known before they ran."""
        known = {**self.costs(config), QUALITY.column: quality}
        return costs_of(looked_up([known.get]), self.aim.objectives)[0].tolist()
