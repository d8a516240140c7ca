"""A comparative study as data: the trials it consists of, and those that choose its learning rates.

Every configuration of a space under every seed, each method at a learning rate of its own: an untuned comparison
compares learning rates. A rate is chosen per kind (method and initialisation) on one student, under a seed that the
comparison does not use, by dev quality; then it serves all of that kind.
"""

from collections.abc import Mapping
from typing import Any

from spaces.space.search_space import SearchSpace
from spaces.students.architecture import StudentArchitecture, architecture_of, parse_shape

TUNING_SEED_OFFSET = 1000
Kind = tuple[str, str]
"""(method, initialisation)"""


def seeds_of(seed: int, count: int) -> tuple[int, ...]:
    """The seeds of a comparison."""
    return tuple(range(seed, seed + count))


def tuning_seed(seed: int) -> int:
    """The seed under which learning rates are chosen."""
    return seed + TUNING_SEED_OFFSET


def kind_of(config: Mapping[str, Any]) -> Kind:
    """What shares a learning rate."""
    return str(config["method"]), str(config["initialisation"])


def tuning_configs(space: SearchSpace, shape: str | None) -> list[dict[str, Any]]:
    """The trials that choose learning rates: of each kind one configuration under every rate.

    It is the first of its kind on the wanted shape (a name such as 3x192), or on another one when the kind cannot
    have that; axes count in the order in which the space lists their values. One rate alone leaves nothing to choose.
    """
    rates = space.axes["learning_rate"].choices
    if len(rates) < 2:
        return []
    student = None if shape is None else parse_shape(shape, space.teacher.architecture.head_size)
    first: dict[Kind, dict[str, Any]] = {}
    for config in space.enumerate():
        known = first.get(kind_of(config))
        if known is None or (_has_shape(config, student) and not _has_shape(known, student)):
            first[kind_of(config)] = config
    return [{**config, "learning_rate": rate} for config in first.values() for rate in rates]


def _has_shape(config: Mapping[str, Any], student: StudentArchitecture | None) -> bool:
    return student is None or architecture_of(config) == student


def compared_configs(space: SearchSpace, rates: Mapping[Kind, float]) -> list[dict[str, Any]]:
    """Every configuration of the space at the rate of its kind."""
    return [config for config in space.enumerate() if config["learning_rate"] == rates[kind_of(config)]]


def count_trials(space: SearchSpace, seeds: int) -> tuple[int, int]:
    """(trials that choose learning rates, trials that are compared)."""
    configs = {tuple(sorted((k, v) for k, v in config.items() if k != "learning_rate")) for config in space.enumerate()}
    return len(tuning_configs(space, None)), seeds * len(configs)
