"""What to try next: an ask/tell loop over an Optuna study that is rebuilt from the store.

The history is the state. Every ask uses a sampler freshly seeded from (seed, trial number), so nothing has to be
pickled and a resume is the same code as a start. Optuna sees what was drawn under the names of the search space
(`params`); the store keeps those beside the canonical configuration, and the past is retold by enqueueing them. The
order is always: write `asked`, run, write `reports`, write `trials`, tell. A configuration that was asked before is
answered from the store.
"""

import json
import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from search.store import Store, now
from spaces.errors import InfeasibleConfig
from spaces.records import OBJECTIVES, Objective
from spaces.search_space import SearchSpace, config_hash
from spaces.transfer import axes_of

MINIMIZE, MAXIMIZE = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
Costs = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""The cost columns of a configuration as far as they are known before it runs."""

LOG = logging.getLogger("stillhouse.sampler")
MAX_INFEASIBLE = 200
"""Infeasible draws in a row before the search ends: the feasible part of the space is then practically used up."""
MAX_DUPLICATES = 50
"""Repeated configurations in a row before the search ends: the sampler has nothing new to say."""


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """Tree-structured Parzen estimator that models parameters jointly, per branch of the conditional space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def nsga2(seed: int) -> optuna.samplers.BaseSampler:
    """Genetic search by non-dominated sorting; small populations, since trials are dear."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)


def random(seed: int) -> optuna.samplers.BaseSampler:
    """Independent draws: the baseline."""
    return optuna.samplers.RandomSampler(seed=seed)


DRAWING: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {"tpe": tpe, "nsga2": nsga2, "random": random}
"""The samplers that draw; `grid` walks through the space instead."""


def branches(space: SearchSpace) -> list[dict[str, Any]]:
    """Every method, and every mapping of the methods that have one: each is tried once before the model takes over.

    A model of a conditional space learns nothing about a branch that random start-up draws happened to miss.
    """
    found: list[dict[str, Any]] = []
    for method in space.axes["method"].choices:
        mappings = space.axes["mapping"].choices if "mapping" in axes_of(str(method)) else (None,)
        found += [{"method": method} | ({} if mapping is None else {"mapping": mapping}) for mapping in mappings]
    return found


@dataclass(frozen=True)
class Ask:
    """One trial to run."""

    trial: int
    config: dict[str, Any]
    seed: int
    config_hash: str
    asked_again: bool = False


@dataclass
class Progress:
    """Counts and rows, for whoever shows them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    ended: str = ""
    """Why no more trials are asked; empty while they are."""

    def count(self, *statuses: str) -> int:
        return sum(row["status"] in statuses for row in self.rows)


class AskTell:
    """Asks for configurations until the budget is spent and records what became of them."""

    def __init__(
        self,
        store: Store,
        space: SearchSpace,
        costs: Costs,
        *,
        sampler: str,
        objectives: Sequence[str],
        constraints: Mapping[str, float],
        seed: int,
        budget: int,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        self.store, self.space, self.costs = store, space, costs
        self.sampler, self.seed, self.budget = sampler, seed, budget
        self.objectives: list[Objective] = [OBJECTIVES[name] for name in objectives]
        self.constraints = {OBJECTIVES[name]: limit for name, limit in constraints.items()}
        self.constants = dict(constants or {})
        self.progress = Progress()
        self._live: dict[int, tuple[Ask, optuna.Trial | None]] = {}
        self._by_hash: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, str] = {}
        self._duplicates = 0
        self._last_number = -1
        self._wait_for_a_result = False
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._branches = branches(space)
        self._study = optuna.create_study(
            directions=[MAXIMIZE if o.direction == "max" else MINIMIZE for o in self.objectives],
            sampler=self._seeded(-1, 0),
        )
        self._grid = self._grid_order() if sampler == "grid" else None
        self._retell()

    @property
    def spent(self) -> int:
        """Trials that count against the budget: those that ran."""
        return self.progress.count("finished", "failed")

    @property
    def running(self) -> int:
        return len(self._live)

    @property
    def waiting(self) -> int:
        """Trials of an earlier run that are to be run again."""
        return len(self._again)

    def ask(self) -> Ask | None:
        """The next trial to run; None when nothing can be asked now (see `progress.ended` for whether ever again)."""
        if self._again:
            return self._ask_again(self._again.pop(0))
        if self.progress.ended or self._wait_for_a_result:
            return None
        if self.spent + len(self._live) >= self.budget:
            if not self._live:
                self.progress.ended = f"the budget of {self.budget} trials is spent"
            return None
        return self._next_of_grid() if self._grid is not None else self._draw()

    def tell(
        self, trial: int, measured: Mapping[str, Any], reports: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, Any]:
        """Record the result of a trial: columns of its row, among them a `reason` if it failed."""
        ask, drawn = self._live.pop(trial)
        self._wait_for_a_result = False
        known = set(self.store.schemas["trials"].names)
        if unknown := sorted(set(measured) - known):
            LOG.warning("trial %d measured what no column records: %s", trial, ", ".join(unknown))
        row = {**self._identity(ask), **{k: v for k, v in measured.items() if k in known}}
        row["reason"] = measured.get("reason") or _unusable(row, self.objectives)
        row["status"] = "failed" if row["reason"] else "finished"
        if reports:
            columns = set(self.store.schemas["reports"].names)
            self.store.write_part(
                "reports", trial, [{"trial": trial} | {k: v for k, v in r.items() if k in columns} for r in reports]
            )
        self._record(row)
        self._tell_study(drawn, row)
        return row

    def _draw(self) -> Ask | None:
        number = self._next_number()
        reasons: Counter[str] = Counter()
        for attempt in range(MAX_INFEASIBLE):
            self._study.sampler = self._seeded(number, attempt)
            drawn = self._study.ask()
            try:
                config = self.space.suggest(drawn)
                self._check(config)
            except InfeasibleConfig as error:
                reasons[str(error)] += 1
                self._study.tell(drawn, state=TrialState.FAIL)
                self._record_infeasible(drawn.params, getattr(error, "config", None), str(error))
                number = self._next_number()
                continue
            digest = config_hash(config, self.seed)
            if digest in self._by_hash:
                self._answer(number, digest, config, drawn)
                if self._duplicates >= MAX_DUPLICATES:
                    self.progress.ended = (
                        f"the last {MAX_DUPLICATES} configurations that {self.sampler} asked for had all been tried"
                    )
                    return None
                number = self._next_number()
                continue
            if any(ask.config_hash == digest for ask, _ in self._live.values()):
                self._study.tell(drawn, state=TrialState.FAIL)
                continue
            self._duplicates = 0
            return self._start(Ask(number, config, self.seed, digest), drawn)
        self._wait_for_a_result = True
        if not self._live:
            common = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
            self.progress.ended = f"{MAX_INFEASIBLE} draws in a row gave nothing new to run{common}"
        return None

    def _next_of_grid(self) -> Ask | None:
        assert self._grid is not None
        while self._grid:
            config = self._grid.pop()
            digest = config_hash(config, self.seed)
            if digest in self._asked:
                continue
            try:
                self._check(config)
            except InfeasibleConfig as error:
                self._record_infeasible({}, config, str(error))
                continue
            return self._start(Ask(self._next_number(), config, self.seed, digest), None)
        self._wait_for_a_result = True
        if not self._live:
            self.progress.ended = "every configuration of the grid has been tried"
        return None

    def _grid_order(self) -> list[dict[str, Any]]:
        configs = list(self.space.enumerate())
        order = np.random.default_rng([self.seed]).permutation(len(configs))
        return [configs[i] for i in order]

    def _start(self, ask: Ask, drawn: optuna.Trial | None) -> Ask:
        params = json.dumps(drawn.params) if drawn is not None else ""
        row = {
            "trial": ask.trial,
            "config_hash": ask.config_hash,
            "config": json.dumps(ask.config, sort_keys=True),
            "params": params,
            "seed": ask.seed,
            "asked_at": now(),
        }
        self.store.write_part("asked", ask.trial, [row])
        self._asked[ask.config_hash] = params
        self._last_number = max(self._last_number, ask.trial)
        self._live[ask.trial] = (ask, drawn)
        return ask

    def _ask_again(self, row: Mapping[str, Any]) -> Ask:
        ask = Ask(row["trial"], json.loads(row["config"]), row["seed"], row["config_hash"], asked_again=True)
        self._live[ask.trial] = (ask, self._redraw(row["params"]))
        return ask

    def _check(self, config: Mapping[str, Any]) -> None:
        """The space's own rules, and the limits on costs that are known before anything is trained."""
        self.space.check(dict(config))
        costs = self.costs(config)
        for objective, limit in self.constraints.items():
            value = costs.get(objective.column)
            if value is not None and value > limit:
                raise InfeasibleConfig(f"{objective.name} {value:,.6g} is above the limit of {limit:,.6g}")

    def _answer(self, number: int, digest: str, config: Mapping[str, Any], drawn: optuna.Trial) -> None:
        """A configuration that was tried before: repeat its row under a new number, and tell the sampler."""
        earlier = self._by_hash[digest]
        self._duplicates += 1
        row = {**earlier, "trial": number, "status": "duplicate", "of_trial": earlier["trial"], "started_at": now()}
        self._record(row)
        self._tell_study(drawn, earlier)

    def _record_infeasible(self, params: Mapping[str, Any], config: Mapping[str, Any] | None, reason: str) -> None:
        config = dict(config if config is not None else params)
        digest = config_hash(config, self.seed)
        if digest in self._asked:
            return
        self._asked[digest] = ""
        known = set(self.store.schemas["trials"].names)
        row = {k: v for k, v in config.items() if k in known}
        row |= {
            "trial": self._next_number(),
            "config_hash": digest,
            "seed": self.seed,
            "status": "infeasible",
            "reason": reason,
        }
        self._record({**row, "started_at": now(), "student_path": ""})

    def _record(self, row: dict[str, Any]) -> None:
        self.store.write_part("trials", row["trial"], [row])
        self._remember(row)

    def _remember(self, row: dict[str, Any]) -> None:
        self.progress.rows.append(row)
        self._last_number = max(self._last_number, row["trial"])
        if row["status"] in ("finished", "failed"):
            self._by_hash.setdefault(row["config_hash"], row)

    def _identity(self, ask: Ask) -> dict[str, Any]:
        known = set(self.store.schemas["trials"].names)
        row = {k: v for k, v in ask.config.items() if k in known}
        return {**self.costs(ask.config), **row, **self.constants, "trial": ask.trial, "config_hash": ask.config_hash,
                "seed": ask.seed, "student_path": ""}  # fmt: skip

    def _tell_study(self, drawn: optuna.Trial | None, row: Mapping[str, Any]) -> None:
        if drawn is None:
            return
        if row["status"] != "finished":
            self._study.tell(drawn, state=TrialState.FAIL)
            return
        for objective, limit in self.constraints.items():
            drawn.set_constraint(objective.name, (row[objective.column] - limit) / limit)
        self._study.tell(drawn, [float(row[o.column]) for o in self.objectives])

    def _redraw(self, params: str | None) -> optuna.Trial | None:
        """The Optuna trial of recorded draws, as if drawn now; None when the space cannot be asked for them."""
        if not params:
            return None
        self._study.enqueue_trial(json.loads(params))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn = self._study.ask()
            try:
                self.space.suggest(drawn)
            except InfeasibleConfig:
                self._study.tell(drawn, state=TrialState.FAIL)
                return None
        return drawn

    def _retell(self) -> None:
        """Rebuild counts, hashes and the Optuna study from the store."""
        asked = {row["trial"]: row for row in self.store.read_rows("asked")}
        rows = sorted(self.store.read_rows("trials"), key=lambda row: row["trial"])
        self._last_number = max([-1, *asked])
        self._asked = {row["config_hash"]: row["params"] or "" for row in asked.values()}
        if self.sampler == "tpe":
            self._study.sampler = random(self.seed)  # retelling draws nothing, so it need not be modelled
        for row in rows:
            self._remember(row)
            self._asked.setdefault(row["config_hash"], "")
            if row["status"] != "infeasible":
                source = asked.get(row["of_trial"] if row["status"] == "duplicate" else row["trial"])
                drawn = self._redraw(source["params"] if source else None)
                self._tell_study(
                    drawn, {**row, "status": "finished"} if row["status"] == "duplicate" and not row["reason"] else row
                )
        done = {row["trial"] for row in rows}
        self._again = [asked[number] for number in sorted(asked) if number not in done]

    def _seeded(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence([self.seed, number + 1, attempt]).generate_state(1)[0])
        sampler = DRAWING.get(self.sampler, random)(seed)
        turn = self.spent + len(self._live)
        if turn >= len(self._branches) or 2 * len(self._branches) > self.budget:
            return sampler
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.PartialFixedSampler(self._branches[turn], sampler)

    def _next_number(self) -> int:
        return self._last_number + 1


def _unusable(row: Mapping[str, Any], objectives: Sequence[Objective]) -> str:
    """Why a row cannot be compared with others, or nothing."""
    for objective in objectives:
        value = row.get(objective.column)
        if value is None:
            return f"the trial measured no {objective.column}"
        if not math.isfinite(value):
            return f"{objective.column} is not a finite number ({value})"
    return ""
