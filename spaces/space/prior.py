"""What a person expects of the axes of a space before anything has been tried: `[search.prior.AXIS]`.

The promise of a configuration is multiplied by its weight to a power that fades as observations come in, so that a
wrong prior costs some trials and no more. Source: piBO, Hvarfner et al., ICLR 2022, arXiv:2204.11051, equation 6.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spaces.errors import nearest
from spaces.space.search_space import SearchSpace
from spaces.space.table import Values

LASTING = 10.0
"""Observations after which a weight counts as it stands; the power is LASTING / observations. beta in the paper."""
AROUND, WITHIN = "around", "within"
"""Keys of a prior on a range."""


@dataclass(frozen=True)
class Around:
    """A bell over a range: at `within` times its centre (or so far beside it, where the range is linear) exp(-1/2)."""

    centre: float
    within: float
    log: bool

    def weight(self, value: float) -> float:
        """1 at the centre, near 0 far from it."""
        far = math.log(value / self.centre) / math.log(self.within) if self.log else (value - self.centre) / self.within
        return math.exp(-0.5 * far * far)


@dataclass(frozen=True)
class Weights:
    """A weight for some of the choices; the others have 1."""

    weights: Mapping[Any, float]

    def weight(self, value: Any) -> float:
        """Of a choice."""
        return self.weights.get(value, 1.0)


@dataclass(frozen=True)
class Prior:
    """The weights of a space's configurations."""

    space: SearchSpace
    axes: Mapping[str, Around | Weights]

    def weights(self, configs: Sequence[Mapping[str, Any]], observations: int) -> np.ndarray:
        """One for each configuration, (N,), the largest 1; what a configuration does not have says nothing."""
        logs_N = np.array([self._log_weight(config) for config in configs])
        return np.exp((logs_N - logs_N.max()) * LASTING / max(1, observations))

    def at_random(self, configs: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> int:
        """The index of one of the configurations, drawn in proportion to the weights as they stand."""
        weights_N = self.weights(configs, int(LASTING))
        return int(rng.choice(len(configs), p=weights_N / weights_N.sum()))

    def _log_weight(self, config: Mapping[str, Any]) -> float:
        if not self.axes:
            return 0.0
        values = self.space.values_of(config)
        return sum(
            math.log(max(each.weight(values[name]), 1e-300)) for name, each in self.axes.items() if name in values
        )


def read_prior(space: SearchSpace, tables: Mapping[str, Mapping[str, float]]) -> tuple[Prior, list[str]]:
    """The prior that a spec gives, and everything that is wrong with it."""
    axes: dict[str, Around | Weights] = {}
    problems: list[str] = []
    for name, table in tables.items():
        where = f"[search.prior] {name}"
        if name not in space.axes:
            problems.append(f"{where}: unknown axis.{nearest(name, space.axes)} Known: {', '.join(space.axes)}")
        elif space.axes[name].is_range:
            axes[name] = _around(where, space.axes[name], table, problems)
        else:
            axes[name] = _weights(where, space.axes[name], table, problems)
    return Prior(space, axes), problems


def _around(where: str, values: Values, table: Mapping[str, float], problems: list[str]) -> Around:
    centre, within = table.get(AROUND), table.get(WITHIN)
    least = 1.0 if values.log else 0.0
    if centre is None or within is None or len(table) > 2:
        problems.append(f"{where} is a range: write {{ {AROUND} = {values.low:g}, {WITHIN} = 3 }}, got {dict(table)!r}")
    else:
        if not values.contains(centre):
            near = min(max(centre, values.low), values.high)
            problems.append(
                f"{where} {AROUND}: {centre:g} is outside of {values.low:g} to {values.high:g}; nearest {near:g}"
            )
        if within <= least:
            how = "times the centre, above 1" if values.log else "above 0"
            problems.append(f"{where} {WITHIN} must be {how}, got {within:g}")
    return Around(centre or values.low, within or 3.0, values.log)


def _weights(where: str, values: Values, table: Mapping[str, float], problems: list[str]) -> Weights:
    known = {str(choice): choice for choice in values.choices}
    found = {}
    for key, weight in table.items():
        choice = known.get(key, next((each for each in values.choices if _same_number(each, key)), None))
        if choice is None:
            problems.append(f"{where}: {key!r} is not offered.{nearest(key, known)} Offered: {', '.join(known)}")
        elif weight <= 0:
            problems.append(
                f"{where} {key}: a weight must be above 0, got {weight:g}; leave the value out of [space] instead"
            )
        else:
            found[choice] = weight
    return Weights(found)


def _same_number(choice: Any, key: str) -> bool:
    """Whether a key writes this number otherwise: "1e-3" for 0.001."""
    try:
        return not isinstance(choice, str) and float(key) == choice
    except ValueError:
        return False
