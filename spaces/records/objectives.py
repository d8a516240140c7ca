"""What a study looks for: objectives, each a column of the trials table, and limits that its costs must keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from spaces.errors import choose


@dataclass(frozen=True)
class Objective:
    """What a study is searched for: a column of the trials table, and which way is better."""

    name: str
    direction: Literal["max", "min"]
    column: str


OBJECTIVES: dict[str, Objective] = {
    "quality": Objective("quality", "max", "quality"),
    "worst_language_quality": Objective("worst_language_quality", "max", "worst_language_quality"),
    "parameters": Objective("parameters", "min", "parameters"),
    "latency_ms": Objective("latency_ms", "min", "latency_p50_ms"),
    "flops": Objective("flops", "min", "flops_per_token"),
}


@dataclass(frozen=True)
class Aim:
    """The objectives of a study and its upper limits on costs: together they say which students are on its front."""

    objectives: tuple[Objective, ...]
    limits: Mapping[Objective, float]
    axes: tuple[str, ...] = ()
    """in which configurations may differ beside CONFIG_COLUMNS; seeds of one configuration are one student"""

    @property
    def limits_text(self) -> str:
        """'latency_ms <= 4, parameters <= 15,000,000'; empty without limits."""
        return ", ".join(f"{objective.name} <= {limit:,.10g}" for objective, limit in self.limits.items())


def aim_of(objectives: Sequence[str], limits: Mapping[str, float], axes: Sequence[str] = ()) -> Aim:
    """The aim by the names of objectives and costs. Raises SpecError for a name that nobody has."""
    return Aim(
        tuple(choose("objective", OBJECTIVES, name) for name in objectives),
        {choose("objective", OBJECTIVES, name): float(limit) for name, limit in limits.items()},
        tuple(axes),
    )
