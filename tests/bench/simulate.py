"""A backend that replays recorded trials: searches run on a clock that only knows the recorded seconds.

A search is anything with the three methods of `Search`; several simulated workers ask it for configurations, tell it
what the recording says at each rung, and stop where it says so. A trial of s seconds takes s on the simulated clock.
"""

import heapq
import itertools
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq

from search.spec.checks import Study, check_all
from spaces.space.search_space import SearchSpace, config_hash
from spaces.students.architecture import count_parameters
from trainables.models.teacher import read_facts


@dataclass(frozen=True)
class Rung:
    """What was recorded of a trial at a token count."""

    train_tokens: int
    quality: float
    train_s: float
    """Training alone, from the start of the trial."""
    score_s: float
    """One scoring, at this rung."""


@dataclass(frozen=True)
class Recording:
    """A table of trials by configuration; the first seed of each."""

    about: Mapping[str, Any]
    trials: Mapping[str, tuple[Rung, ...]]
    """By `key` of the configuration; the last rung is the whole budget. Empty: the trial failed."""
    costs: Mapping[str, Mapping[str, float]]
    configs: Mapping[str, Mapping[str, Any]]

    @cached_property
    def space(self) -> SearchSpace:
        """The search space that was recorded."""
        return self._checked.space

    @cached_property
    def teacher_parameters(self) -> int:
        """The unit of the costs."""
        facts = self._checked.teacher
        return count_parameters(facts.architecture, facts)

    @cached_property
    def _checked(self) -> Study:
        return check_all(tomllib.loads(self.about["spec"]), Path.cwd(), "the recording", read_facts)

    def cost_columns(self, config: Mapping[str, Any]) -> Mapping[str, float]:
        """Cost columns of a configuration, as `AskTell` wants them."""
        return self.costs[key(config)]


def key(config: Mapping[str, Any]) -> str:
    """A configuration whatever its seed."""
    return config_hash(config, 0)


def load(path: Path, seed: int = 0) -> Recording:
    """Read a recording."""
    table = pq.read_table(path)
    trials: dict[str, list[Rung]] = {}
    costs, configs = {}, {}
    for row in table.to_pylist():
        if row["seed"] != seed:
            continue
        config = json.loads(row["config"])
        name = key(config)
        configs[name] = config
        costs[name] = {column: row[column] for column in ("parameters", "flops_per_token", "latency_p50_ms")}
        rungs = trials.setdefault(name, [])
        if not row["reason"]:
            rungs.append(Rung(row["train_tokens"], row["quality"], row["train_s"], row["score_s"]))
    about = json.loads(table.schema.metadata[b"about"])
    levels = len(about["rungs"]) + 1
    return Recording(about, {n: tuple(r) if len(r) == levels else () for n, r in trials.items()}, costs, configs)


class Search(Protocol):
    """What is compared."""

    def suggest(self) -> tuple[Any, Mapping[str, Any], int] | None:
        """(handle, configuration, rungs that an earlier run of this trial has passed); None: ask again later."""

    def report(self, handle: Any, level: int, rung: Rung) -> bool:
        """A trial has reached its `level`-th rung, from 1; whether it goes on. Not asked at the end."""

    def complete(self, handle: Any, rung: Rung | None) -> None:
        """A trial has ended with its whole budget, or failed (None)."""


@dataclass(frozen=True)
class Ended:
    """A trial at its whole budget."""

    at_s: float
    quality: float
    parameters: float


def simulate(
    search: Search, recording: Recording, workers: int, horizon_s: float, *, uses_rungs: bool, count_scoring: bool
) -> list[Ended]:
    """Trials that end before the horizon, in the order of the simulated clock."""
    ended: list[Ended] = []
    order = itertools.count()
    events: list[tuple[float, int, Any]] = [(0.0, next(order), None) for _ in range(workers)]
    while events:
        now_s, _, what = heapq.heappop(events)
        if now_s > horizon_s:
            break
        if what is not None:
            handle, name, level = what
            rungs = recording.trials[name]
            if level == len(rungs):
                search.complete(handle, rungs[-1] if rungs else None)
                if rungs:
                    ended.append(Ended(now_s, rungs[-1].quality, recording.costs[name]["parameters"]))
                what = None
            elif search.report(handle, level, rungs[level - 1]):
                heapq.heappush(
                    events, (now_s + seconds(rungs, level, count_scoring), next(order), (handle, name, level + 1))
                )
                continue
        asked = search.suggest()
        if asked is None:
            later = min((at for at, _, what in events if what is not None), default=None)
            if later is None:
                break
            heapq.heappush(events, (later + 1e-9, next(order), None))
            continue
        handle, config, passed = asked
        name = key(config)
        rungs = recording.trials[name]
        if not rungs:  # failed early, after the seconds of a first rung of the same kind
            heapq.heappush(events, (now_s + 1.0, next(order), (handle, name, 0)))
        elif uses_rungs:
            heapq.heappush(
                events, (now_s + seconds(rungs, passed, count_scoring), next(order), (handle, name, passed + 1))
            )
        else:
            whole_s = rungs[-1].train_s + (rungs[-1].score_s if count_scoring else 0.0)
            heapq.heappush(events, (now_s + whole_s, next(order), (handle, name, len(rungs))))
    return ended


def seconds(rungs: tuple[Rung, ...], passed: int, count_scoring: bool) -> float:
    """From the rung that was passed last (0: the start) to the next."""
    before = rungs[passed - 1].train_s if passed else 0.0
    return rungs[passed].train_s - before + (rungs[passed].score_s if count_scoring else 0.0)


def hypervolume_curve(ended: list[Ended], recording: Recording, grid_s: np.ndarray) -> np.ndarray:
    """Hypervolume over quality and parameters, in units of the teacher (analysis/selection/front.py), at each time."""
    from spaces.records.fronts import hypervolume

    costs_NK = np.array([[-e.quality, e.parameters / recording.teacher_parameters] for e in ended]).reshape(-1, 2)
    volumes = [0.0, *(hypervolume(costs_NK[: n + 1], [0.0, 1.0]) for n in range(len(ended)))]
    return np.array(volumes)[np.searchsorted([e.at_s for e in ended], grid_s, side="right")]
