"""What samplers may know of a search beside the Optuna study that they draw for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Config = Mapping[str, Any]
"""A configuration: what a space returns when it is asked with a trial."""
Known = Sequence[float | None]
"""One number for each objective of the study, in its own direction; None where it is not known."""


@dataclass(frozen=True)
class Seen:
    """The value of the uncertain objective for a configuration after a share of the budget of one trial.

    Above 1 for what has gone on from an earlier one.
    """

    config: Config
    share: float
    quality: float


@dataclass(frozen=True)
class Beside:
    """A further point of the front that every trial brings, such as its student in another precision."""

    known: Callable[[Config], Known]
    """Its objectives that are known before a trial runs."""
    shift: float = 0.0
    """What its uncertain objective differs by from that of the trial."""


@dataclass(frozen=True)
class Evidence:
    """What has been observed, at the end of trials and before it."""

    seen: Sequence[Seen]
    """Of the uncertain objective."""
    running: Sequence[Config] = ()
    front: Sequence[Known] = ()
    """Values of the best trials so far; others may be among them."""
    failed: Sequence[Config] = ()
    """Of trials that came to nothing."""
    others: Mapping[int, Sequence[Seen]] = field(default_factory=dict)
    """Observations of the other objectives that nobody knows beforehand, by their index."""
    beside: Sequence[Beside] = ()
    """What each trial brings beside its own point; `front` holds those of the trials that have ended."""
    end_of: Callable[[Config], float] | None = None
    """The share at which a configuration would end, above 1 where it goes on from what was trained before; None: 1."""


Weights = Callable[[Sequence[Config], int], np.ndarray]
"""(configurations, observations so far) -> how much is made of what each promises, (N,); the largest is 1."""


@dataclass(frozen=True)
class Context:
    """The search that a sampler draws for."""

    space: Callable[[Any], Config]
    """Draws a configuration with `trial.suggest_categorical` and so on, and returns it."""
    known: Callable[[Config], Known]
    """The objectives that are known before a trial runs."""
    allowed: Callable[[Config], bool]
    """Whether a configuration may be tried: within the limits that can be checked beforehand, and new."""
    evidence: Callable[[], Evidence]
    reference: Known
    """The worst values that count, such as the teacher's size."""
    candidates: int
    """Draws that the model chooses from; 1: none, the sampler's draw is taken as it is."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that are settled for this draw."""
    prior: Weights | None = None
    """What is expected before anything is seen; None: nothing."""
