"""The samplers that `[search] sampler` may name. A new one is one entry here, or an entry point of another package.

An entry is a function of a seed and a `Context` (context.py) that makes an `optuna.samplers.BaseSampler`. It is called
for every draw, so that what a sampler draws is a function of the history and the seed, and never of its own past.
"""

from types import FunctionType

from spaces.registry import Registry

SAMPLERS = Registry(
    FunctionType,
    "stillhouse.samplers",
    {
        "tpe": "search.samplers.drawing:tpe",
        "nsga2": "search.samplers.drawing:nsga2",
        "gp": "search.samplers.drawing:gp",
        "random": "search.samplers.drawing:random",
    },
)
FREEZE_THAW, HALVING = "freeze_thaw", "halving"
SCHEDULES = (FREEZE_THAW, HALVING)
"""What `[search] schedule` may name."""
GRID = "grid"
"""Walks through the space instead of drawing from it."""
