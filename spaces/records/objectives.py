"""What a study looks for: objectives, each a quality or a cost, and limits that its costs must keep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from spaces.errors import choose
from spaces.records.costs import COSTS, Cost


@dataclass(frozen=True)
class Quality:
    """A quality of a student: a share of the gap between floor and teacher, larger is better."""

    name: str
    label: str
    column: str
    decimals: int = 3
    direction: ClassVar[Literal["max"]] = "max"

    unit: ClassVar[str] = "share"

    @property
    def amount(self) -> str:
        """What a number of it is followed by."""
        return self.label


Objective = Quality | Cost
QUALITY = Quality("quality", "quality", "quality")
QUALITIES: dict[str, Quality] = {
    "quality": QUALITY,
    "worst_language_quality": Quality(
        "worst_language_quality", "quality in the worst language", "worst_language_quality"
    ),
}


def all_objectives() -> dict[str, Objective]:
    """Every objective by its name, qualities first."""
    return {**QUALITIES, **COSTS}


def named_objectives() -> dict[str, Objective]:
    """Every name that an objective may be asked by: its own, and of a cost what people say of its reciprocal.

    Speed is as many times the teacher's as its latency is less, so that most speed is least latency.
    """
    return {**all_objectives(), **{cost.inverse: cost for cost in COSTS.values() if cost.inverse}}


def is_named(objective: Objective, names: Iterable[str]) -> bool:
    """Whether one of the names, known or not, is of this objective."""
    known = named_objectives()
    return any(known.get(name) is objective for name in names)


@dataclass(frozen=True)
class Aim:
    """The objectives of a study and its upper limits on costs: together they say which students are on its front."""

    objectives: tuple[Objective, ...]
    limits: Mapping[Cost, float]
    axes: tuple[str, ...] = ()
    """in which configurations may differ beside CONFIG_COLUMNS; seeds of one configuration are one student"""

    @property
    def costs(self) -> list[Cost]:
        """The objectives that are costs."""
        return [objective for objective in self.objectives if isinstance(objective, Cost)]

    @property
    def limits_text(self) -> str:
        """'latency_ms <= 4, parameters <= 15,000,000'; empty without limits."""
        return ", ".join(f"{cost.name} <= {limit:,.10g}" for cost, limit in self.limits.items())


def aim_of(objectives: Sequence[str], limits: Mapping[str, float], axes: Sequence[str] = ()) -> Aim:
    """The aim by the names of objectives and costs. Raises SpecError for a name that nobody has."""
    known = named_objectives()
    return Aim(
        tuple(choose("objective", known, name) for name in objectives),
        {choose("cost", COSTS, name): float(limit) for name, limit in limits.items()},
        tuple(axes),
    )
