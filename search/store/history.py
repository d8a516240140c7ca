"""What a study has asked, heard and recorded: read from its store, and written there before anything else happens."""

import bisect
import contextlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from search.store.parts import Store, now
from spaces.errors import InfeasibleConfig
from spaces.records.rows import TrialRow
from spaces.space.search_space import config_hash
from spaces.students.transfer import UNTRAINED


@dataclass(frozen=True)
class Ask:
    """One trial to run."""

    trial: int
    config: dict[str, Any]
    seed: int
    config_hash: str
    parent: int | None = None
    """The finished trial from whose student it may go on."""


@dataclass(frozen=True)
class Wanted:
    """A trial that is to be run, before it has a number."""

    config: Mapping[str, Any]
    seed: int
    parent: int | None = None
    """The trial of the same configuration that it goes on from, or whose seeds it confirms."""

    @property
    def digest(self) -> str:
        """Its config_hash, which a trial without a parent has as well."""
        own = {} if self.parent is None else {"parent": self.parent}
        return config_hash({**self.config, **own}, self.seed)


@dataclass
class Running:
    """A trial between ask and tell."""

    ask: Ask
    started_at: datetime
    reports: list[dict[str, Any]]


@dataclass
class Tally:
    """The trials that have ended, and how many of each status."""

    by_trial: dict[int, TrialRow] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    ended: str = ""
    """Why no more trials are asked; empty while they are."""

    @property
    def rows(self) -> list[TrialRow]:
        """One for each trial that has ended, in the order in which they did."""
        return list(self.by_trial.values())

    def count(self, *statuses: str) -> int:
        """Trials of any of these statuses."""
        return sum(self.counts[status] for status in statuses)


RAN = ("finished", "failed", "stopped")
"""Statuses of trials that were run."""


class History:
    """The rows of a study, in memory and in its store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tally = Tally()
        self._configs: dict[int, dict[str, Any]] = {}
        self.asked: dict[int, dict[str, Any]] = {row["trial"]: row for row in store.read_rows("asked")}
        self.reports: dict[int, list[dict[str, Any]]] = {}
        for report in store.read_rows("reports"):
            self.reports.setdefault(report["trial"], []).append(report)
        rows = sorted(store.read_trials(), key=lambda row: row.trial)
        self.last_number = max([-1, *self.asked])
        self.known = {row["config_hash"] for row in self.asked.values()} | {row.config_hash for row in rows}
        """Hashes of everything that was asked or found infeasible."""
        self.by_hash: dict[str, TrialRow] = {}
        self.finished: list[TrialRow] = []
        """In the order of their numbers, which a resume does not change."""
        self.stopped: list[int] = []
        """Trials that stand at a rung, by number."""
        self.failed: list[int] = []
        """Trials that came to nothing, by number."""
        self._numbers = {"stopped": self.stopped, "failed": self.failed}
        self.variants: dict[int, dict[str | None, int]] = {}
        """Of a trial, the numbers of the rows of its student in further precisions, by precision."""
        self.ran: Counter[int] = Counter()
        """Trials that were run, by seed; students that are left untrained are none."""
        for row in rows:
            self.remember(row)
            if row.status == "stopped":
                self._complete_reports(row)
        self.decisions: dict[int, list[dict[str, Any]]] = {}
        """What was decided about each trial, in order."""
        for decided in store.read_rows("decisions"):
            self.decisions.setdefault(decided["trial"], []).append(decided)
        self.lost_checkpoints: set[int] = set()
        """Stopped trials that would start over."""
        done = {row.trial for row in rows if not self._was_thawed(row)}
        self.interrupted = [self.asked[number] for number in sorted(self.asked) if number not in done]
        """Asked or thawed by an earlier run and not ended; each is to be run again."""

    @property
    def next_number(self) -> int:
        """Of the next trial."""
        return self.last_number + 1

    def config_of(self, trial: int) -> dict[str, Any]:
        """What was asked of a trial; not to be changed, for it is kept."""
        if trial not in self._configs:
            self._configs[trial] = json.loads(self.asked[trial]["config"])
        return self._configs[trial]

    def ended(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Those that have run, whatever came of them."""
        return [each for each in wanted if each.digest in self.by_hash]

    def ask_for(self, wanted: Wanted) -> Ask:
        """The next trial, if it is to be this one."""
        return Ask(self.next_number, dict(wanted.config), wanted.seed, wanted.digest, wanted.parent)

    def first_new(self, configs: Iterable[Mapping[str, Any]], seed: int, check: Callable[..., None]) -> Ask | None:
        """The first that was not asked for and that `check` does not find infeasible; None when there is none."""
        for config in configs:
            wanted = Wanted(config, seed)
            if wanted.digest not in self.known:
                with contextlib.suppress(InfeasibleConfig):
                    check(config)
                    return self.ask_for(wanted)
        return None

    def start(self, ask: Ask, search_s: float, trials_s: float) -> Running:
        """Write down that a trial was asked for, so many seconds into the search, of which trials ran so many."""
        row = {
            "trial": ask.trial,
            "config_hash": ask.config_hash,
            "config": json.dumps(ask.config, sort_keys=True),
            "seed": ask.seed,
            "asked_at": now(),
            "search_s": search_s,
            "trials_s": trials_s,
            "parent": ask.parent,
        }
        self.store.write_part("asked", ask.trial, [row])
        self.asked[ask.trial] = row
        self.known.add(ask.config_hash)
        self.last_number = max(self.last_number, ask.trial)
        return Running(ask, now(), [])

    def again(self, row: Mapping[str, Any]) -> Running:
        """A trial that was interrupted or stopped: under its number, and from its checkpoint if it has one."""
        ask = Ask(row["trial"], json.loads(row["config"]), row["seed"], row["config_hash"], row.get("parent"))
        return Running(ask, now(), self.reports.get(ask.trial, []))

    def write_reports(self, live: Running) -> None:
        """All that a running trial has said so far."""
        self.store.write_part("reports", live.ask.trial, live.reports)

    @property
    def searched_s(self) -> float:
        """Seconds of searching until something was last asked or decided."""
        return self._latest("search_s")

    @property
    def trials_s(self) -> float:
        """Seconds that trials had run by then, all of them together."""
        return self._latest("trials_s")

    def _latest(self, column: str) -> float:
        rows = [*self.asked.values(), *(row for rows in self.decisions.values() for row in rows)]
        return max((row[column] for row in rows if row.get(column) is not None), default=0.0)

    def further(self, trial: int) -> list[TrialRow]:
        """The rows of a trial's student in further precisions."""
        return [self.tally.by_trial[number] for number in self.variants.get(trial, {}).values()]

    def passed(self, trial: int) -> list[tuple[int, float]]:
        """(tokens, quality) at the rungs that a trial has reached."""
        return qualities(self.reports.get(trial, []))

    @property
    def taken(self) -> int:
        """Decisions to train something; a pause and what is taken for it are one."""
        return sum(row["action"] in ("try", "thaw", "go_on") for rows in self.decisions.values() for row in rows)

    @property
    def next_decision(self) -> int:
        """The number of the next decision."""
        return 1 + max((row["decision"] for rows in self.decisions.values() for row in rows), default=-1)

    def write_decision(self, trial: int, row: Mapping[str, Any]) -> None:
        """Write down what is done with a trial, before it is done."""
        rows = self.decisions.setdefault(trial, [])
        rows.append({"trial": trial, "decision": self.next_decision, "decided_at": now(), **row})
        self.store.write_part("decisions", trial, rows)

    def record(self, row: TrialRow) -> None:
        """Write the row of a trial that has ended."""
        self.store.write_trial(row)
        self.remember(row)

    def forget_student(self, row: TrialRow) -> None:
        """Write that a trial's student is gone; nothing else of the row changes, nor its place among the others."""
        without = replace(row, student_path="")
        self.store.write_trial(without)
        self.tally.by_trial[row.trial] = without
        if row.status == "finished":
            self.finished[bisect.bisect_left(self.finished, row.trial, key=lambda each: each.trial)] = without
        if (known := self.by_hash.get(row.config_hash)) is not None and known.trial == row.trial:
            self.by_hash[row.config_hash] = without

    def record_duplicate(self, digest: str) -> None:
        """A configuration that was tried before: repeat its row under a new number."""
        earlier = self.by_hash[digest]
        number, of_trial = self.next_number, earlier.trial
        self.record(replace(earlier, trial=number, status="duplicate", of_trial=of_trial, started_at=now()))

    def record_infeasible(self, config: Mapping[str, Any], seed: int, reason: str) -> None:
        """A draw that may not run, unless it is written down already."""
        digest = config_hash(dict(config), seed)
        if digest in self.known:
            return
        self.known.add(digest)
        row = TrialRow(
            trial=self.next_number, config_hash=digest, seed=seed, status="infeasible", reason=reason,
            started_at=now(), config=dict(config),
        )  # fmt: skip
        self.record(row)

    def last_duplicates(self) -> int:
        """How many configurations in a row, the last ones, had been tried before."""
        found = 0
        for number in range(self.last_number, -1, -1):
            row = self.tally.by_trial.get(number)
            if row is None or row.status not in ("duplicate", "infeasible"):
                break
            found += row.status == "duplicate"
        return found

    def remember(self, row: TrialRow) -> None:
        """Take a row of the store into account; it replaces an earlier row of its trial."""
        if (before := self.tally.by_trial.pop(row.trial, None)) is not None:
            self._count(before, -1)
            if before.status == "finished":
                self.finished.remove(before)
            elif before.status in self._numbers:
                self._numbers[before.status].remove(before.trial)
        self.tally.by_trial[row.trial] = row
        self._count(row, 1)
        if row.status == "finished":
            bisect.insort(self.finished, row, key=lambda each: each.trial)
        elif row.status in self._numbers:
            bisect.insort(self._numbers[row.status], row.trial)
        elif row.status == "variant":
            self.variants.setdefault(row.owner, {})[row.precision] = row.trial
        self.last_number = max(self.last_number, row.trial)
        if row.status in RAN and (self.by_hash.get(row.config_hash) or row).trial == row.trial:
            self.by_hash[row.config_hash] = row

    def _was_thawed(self, row: TrialRow) -> bool:
        """Whether a stopped trial has been taken up again since its row was written."""
        decided = self.decisions.get(row.trial)
        if row.status != "stopped" or not decided:
            return False
        return decided[-1]["action"] != "pause" or decided[-1]["rung"] != row.rung

    def _complete_reports(self, row: TrialRow) -> None:
        """The report that stopped a trial is written after its row, and an end in between loses it: take the row's."""
        reports = self.reports.setdefault(row.trial, [])
        if all(report["step"] != row.steps for report in reports):
            reports.append({
                "trial": row.trial, "step": row.steps, "train_tokens": row.train_tokens,
                "loss": row.loss_last, "elapsed_s": row.train_s, "quality": row.quality,
            })  # fmt: skip

    def _count(self, row: TrialRow, by: int) -> None:
        self.tally.counts[row.status] += by
        if row.status in RAN and not is_untrained(row.config):
            self.ran[row.seed] += by


def is_untrained(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a start as it is."""
    return config.get("method") == UNTRAINED


def qualities(reports: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """(tokens, quality) of the reports that a trial made at rungs."""
    found = [(row["train_tokens"], row.get("quality")) for row in reports]
    return [(tokens, quality) for tokens, quality in found if quality is not None and math.isfinite(quality)]
