"""A backend that replays recorded trials: searches run on a clock that only knows the recorded seconds.

A search is anything with the three methods of `Search`; several simulated workers ask it for configurations, tell it
what the recording says at each rung, and stop where it says so. A trial of s seconds takes s on the simulated clock,
its scores at rungs included, and so does writing a checkpoint and going on from it.
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
from spaces.records.fronts import hypervolume
from spaces.space.search_space import SearchSpace, config_hash
from spaces.students.architecture import count_parameters
from trainables.models.teacher import read_facts


@dataclass(frozen=True)
class Rung:
    """What was recorded of a trial at a token count."""

    train_tokens: int
    quality: float
    """Of what training led to."""
    train_s: float
    """Training alone, from the start of the trial."""
    score_s: float
    """One scoring, at this rung."""
    kept_quality: float
    """Of the student that a trial ending here hands over: the better of this one and its start."""


@dataclass(frozen=True)
class Recording:
    """A table of trials by configuration; the first seed of each."""

    about: Mapping[str, Any]
    trials: Mapping[str, tuple[Rung, ...]]
    """By `key` of the configuration; the last rung is the whole budget. Empty: the trial failed."""
    costs: Mapping[str, Mapping[str, float]]
    configs: Mapping[str, Mapping[str, Any]]
    starts: Mapping[str, float]
    """Quality before the first step, where it was recorded; by `key` of what is trained from there."""

    @property
    def budget_tokens(self) -> int:
        """Of a whole trial."""
        return max(rungs[-1].train_tokens for rungs in self.trials.values() if rungs)

    @property
    def mean_trial_s(self) -> float:
        """Seconds of a trial with its whole budget, scored once, at the end."""
        return float(np.mean([rungs[-1].train_s + rungs[-1].score_s for rungs in self.trials.values() if rungs]))

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

    @cached_property
    def untrained(self) -> tuple[tuple[Mapping[str, Any], float], ...]:
        """The configuration and the quality of each start that was scored as it is."""
        found = {start_of(self.configs[name]): quality for name, quality in self.starts.items()}
        return tuple((each, found[start_of(each)]) for each in self.space.starts() if start_of(each) in found)

    @cached_property
    def costs_of_starts(self) -> Mapping[tuple[Any, ...], Mapping[str, float]]:
        """Cost columns by start, which are those of whatever is trained from it."""
        return {start_of(config): self.costs[name] for name, config in self.configs.items()}

    def cost_columns(self, config: Mapping[str, Any]) -> Mapping[str, float]:
        """Cost columns of a configuration, as `AskTell` wants them."""
        return self.costs_of_starts[start_of(config)]


def key(config: Mapping[str, Any]) -> str:
    """A configuration whatever its seed and its heads, which do not change its size: spaces cut widths into other heads
    today than when the first table was recorded."""
    return config_hash({name: value for name, value in config.items() if name != "num_heads"}, 0)


def start_of(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """The start of a configuration, whatever trains it."""
    return config["initialisation"], config["num_layers"], config["hidden_size"]


def load(path: Path, seed: int = 0, *, free_scores: bool = False) -> Recording:
    """Read a recording; with `free_scores` scoring takes no time."""
    table = pq.read_table(path)
    trials: dict[str, list[Rung]] = {}
    costs, configs, starts = {}, {}, {}
    for row in table.to_pylist():
        if row["seed"] != seed:
            continue
        config = json.loads(row["config"])
        name = key(config)
        if row["train_tokens"] == 0 and not row["reason"]:
            starts[name] = row["quality"]
            continue
        configs[name] = config
        costs[name] = {column: row[column] for column in ("parameters", "flops_per_token", "latency_p50_ms")}
        rungs = trials.setdefault(name, [])
        if not row["reason"]:
            score_s = 0.0 if free_scores else row["score_s"]
            best = max(row["quality"], starts.get(name, row["quality"]))  # a trial never ends below its own start
            rungs.append(Rung(row["train_tokens"], row["quality"], row["train_s"], score_s, best))
    about = json.loads(table.schema.metadata[b"about"])
    levels = len(about["rungs"]) + 1
    whole = {name: tuple(rungs) if len(rungs) == levels else () for name, rungs in trials.items()}
    return Recording(about, whole, costs, configs, starts)


class Search(Protocol):
    """What is compared."""

    now_s: float
    """The simulated time."""

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
    search: Search, recording: Recording, workers: int, horizon_s: float, *, uses_rungs: bool, reload_s: float = 0.0
) -> list[Ended]:
    """Trials that end before the horizon, in the order of the simulated clock.

    A search that does not look at rungs pays for one score, at the end. A trial that goes on from a checkpoint pays
    `reload_s` for leaving and coming back. A search with an attribute `now_s` is told the time.
    """
    ended: list[Ended] = []
    order = itertools.count()
    events: list[tuple[float, int, Any]] = [(0.0, next(order), None) for _ in range(workers)]
    while events:
        now_s, _, what = heapq.heappop(events)
        if now_s > horizon_s:
            break
        search.now_s = now_s
        if what is not None:
            handle, name, level = what
            rungs = recording.trials[name]
            if level == len(rungs):
                search.complete(handle, rungs[-1] if rungs else None)
                if rungs:
                    ended.append(Ended(now_s, rungs[-1].kept_quality, recording.costs[name]["parameters"]))
                what = None
            elif search.report(handle, level, rungs[level - 1]):
                heapq.heappush(events, (now_s + seconds(rungs, level), next(order), (handle, name, level + 1)))
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
            again_s = reload_s if passed else 0.0
            heapq.heappush(events, (now_s + again_s + seconds(rungs, passed), next(order), (handle, name, passed + 1)))
        else:
            whole_s = rungs[-1].train_s + rungs[-1].score_s
            heapq.heappush(events, (now_s + whole_s, next(order), (handle, name, len(rungs))))
    return ended


def seconds(rungs: tuple[Rung, ...], passed: int) -> float:
    """From the rung that was passed last (0: the start) to the score at the next."""
    before = rungs[passed - 1].train_s if passed else 0.0
    return rungs[passed].train_s - before + rungs[passed].score_s


def hypervolume_curve(ended: list[Ended], recording: Recording, grid_s: np.ndarray) -> np.ndarray:
    """Hypervolume over quality and parameters, in units of the teacher (analysis/selection/front.py), at each time.

    Starts that were scored untrained are students of every search, from the beginning.
    """
    untrained = {(recording.costs[name]["parameters"], quality) for name, quality in recording.starts.items()}
    found = [*untrained, *((e.parameters, e.quality) for e in ended)]
    costs_NK = np.array([[-quality, size / recording.teacher_parameters] for size, quality in found]).reshape(-1, 2)
    volumes = [hypervolume(costs_NK[: len(untrained) + n], [0.0, 1.0]) for n in range(len(ended) + 1)]
    return np.array(volumes)[np.searchsorted([e.at_s for e in ended], grid_s, side="right")]
