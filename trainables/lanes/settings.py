"""Where trials run, as a spec writes it under [cluster], and what all trials of a lane share."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spaces.settings import setting

RANKS_APART_S = 20.0
"""When one rank has ended a trial, the others must follow within this time, else the group is torn down."""


@dataclass(frozen=True)
class ClusterSpec:
    """How many trials run at the same time, and what each of them gets."""

    concurrent_trials: int | None = setting("trials at the same time; unset: as many as fit", None, at_least=1)
    workers_per_trial: int = setting("data-parallel workers of one trial", 1, at_least=1)
    cpus_per_worker: int = setting("CPUs (and threads) of one worker", 1, at_least=1)
    gpus_per_worker: float | None = setting(
        "GPUs of one worker, a share below 1 where trials share one; unset: what the nodes have; 0: CPU only",
        None,
        at_least=0,
    )
    worker_price: float | None = setting(
        "what an hour of one worker costs, in the currency of [budget] cost; preparation and idle nodes do not count",
        None,
        above=0,
    )
    hang_after_s: float = setting(
        "a trial that has reported nothing for so many seconds is started again, once; 0: never. A trial reports "
        "twenty times while it trains and not while it is scored: give more than a twentieth of the longest trial",
        21_600.0,
        at_least=0,
    )

    @property
    def device(self) -> str:
        """Where workers train and run the teacher: cpu or cuda. Not to be asked while the GPUs are unset."""
        return "cuda" if self.gpus_per_worker else "cpu"


@dataclass(frozen=True)
class LaneSettings:
    """What all trials of a lane share. `function` is `module:name`, importable on every node."""

    function: str = "trainables.lanes.trial:run_trial"
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    ranks_apart_s: float = RANKS_APART_S


def load_function(reference: str) -> Callable[..., Any]:
    """`package.module:name` -> the function."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
