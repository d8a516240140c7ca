"""What of a study's weights stays on disk: everything while it fits the quota, and always what can still be chosen.

Needed, and never deleted: the students on the front of quality against all costs together (so that `best` and `export`
find their pick under any limits, also under the latencies of a measured profile), those on the front right behind it
(which seeds may move up), every configuration that has several seeds, and what trials that have not ended go on from.
When the study takes more than its quota, the other students give way, the most beaten first, and then the checkpoints
of stopped trials, the worst first. A trial that loses its student keeps its row, with an empty `student_path`; each
deletion is a line in the study's log.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from search.store.history import History
from spaces.records.columns import PROFILED
from spaces.records.fronts import by_configuration, configuration, costs_of_rows, front_of, ranks
from spaces.records.objectives import Aim, all_objectives
from spaces.records.rows import STUDENTS, TrialRow

LOG = logging.getLogger("stillhouse.keeping")
GB = 1e9
NEEDED_FRONTS = 2
"""The front, and the one behind it."""
Rows = Sequence[TrialRow]


class Keeper:
    """The students and checkpoints of one study, kept within `quota_gb`."""

    def __init__(self, history: History, aim: Aim, quota_gb: float, say: Callable[[str], None] = LOG.warning) -> None:
        self.history, self.store, self.aim, self.quota_gb, self.say = history, history.store, aim, quota_gb, say
        self.sizes: dict[tuple[str, int], int] = {}
        """Bytes by (students or checkpoints, trial)."""
        self.running: set[int] = set()
        self._warned = False
        for kind in ("students", "checkpoints"):
            for name in self.store.folders(kind):
                if name.isdigit():
                    self._measure(kind, int(name))

    @property
    def taken_gb(self) -> float:
        """Disk that students and checkpoints take."""
        return sum(self.sizes.values()) / GB

    def tidy(self) -> None:
        """Finish deletions that an earlier run began, and make room should the quota have become smaller."""
        rows = self.history.tally.rows
        stopped = {row.trial for row in rows if row.status == "stopped"}
        for kind, trial in list(self.sizes):
            if kind == "checkpoints" and trial not in stopped:  # of an interrupted trial, which runs again
                del self.sizes[kind, trial]
        for row in rows:
            if row.status == "finished" and not row.student_path:
                self._drop("students", row.trial, "its row names no student")
        self.history.lost_checkpoints |= {trial for trial in stopped if ("checkpoints", trial) not in self.sizes}
        self.make_room()

    def started(self, trial: int) -> None:
        """A trial runs, for the first time or again: its checkpoint is its own."""
        self.running.add(trial)
        self.history.lost_checkpoints.discard(trial)
        self.sizes.pop(("checkpoints", trial), None)

    def ended(self, row: TrialRow) -> None:
        """A trial has ended: drop the checkpoint that it needs no more, and make room."""
        self.running.discard(row.trial)
        if row.status != "stopped":  # a stopped trial may be promoted, and goes on from there
            self.store.remove("checkpoints", _name(row.trial))
        self._measure("students", row.trial)
        self._measure("checkpoints", row.trial)
        self.make_room()

    def make_room(self) -> None:
        """Delete what is needed least until the rest fits; rows of trials that lose their student are rewritten."""
        if self.taken_gb <= self.quota_gb:
            return
        rows = self.history.tally.rows
        for row in beaten(rows, self._needed(rows)):
            if self.taken_gb <= self.quota_gb:
                return
            self._drop_student(row, rows)
        stopped = (row for row in rows if row.status == "stopped" and row.trial not in self.running)
        for row in sorted(stopped, key=lambda row: row.rank_quality):
            if self.taken_gb <= self.quota_gb:
                return
            if self._drop("checkpoints", row.trial, f"stopped with quality {row.rank_quality:.3f}"):
                self.history.lost_checkpoints.add(row.trial)
                self.say(f"trial {row.trial} would start over if it were taken up again: its checkpoint was deleted")
        if self.taken_gb > self.quota_gb and not self._warned:
            self._warned = True
            self.say(
                f"the students that can still be chosen take {self.taken_gb:.3g} GB, more than [storage] quota_gb "
                f"{self.quota_gb:g}; they are kept"
            )

    def _needed(self, rows: Rows) -> set[int]:
        begun = {*self.running, *self.history.stopped, *(row["trial"] for row in self.history.interrupted)}
        parents = (self.history.asked.get(trial, {}).get("parent") for trial in begun)
        needed_now = needed(rows, self.aim, self.store.read_rows("profiles"))
        return needed_now | {parent for parent in parents if parent is not None}

    def _drop_student(self, row: TrialRow, rows: Rows) -> None:
        if ("students", row.trial) not in self.sizes:
            return
        for each in rows:  # the row first: what it does not name is nobody's, what it names is there
            if row.trial in (each.trial, each.of_trial) and each.student_path:
                self.history.forget_student(each)
        self._drop("students", row.trial, f"quality {row.rank_quality:.3f}, beaten by others at its cost")

    def _drop(self, kind: str, trial: int, why: str) -> bool:
        if (size := self.sizes.pop((kind, trial), None)) is None:
            return False
        self.store.remove(kind, _name(trial))
        LOG.info(
            "trial %d: %s deleted, %.1f MB (%s; %.3g of %g GB are left in use)", trial, kind.removesuffix("s"),
            size / 1e6, why, self.taken_gb, self.quota_gb,
        )  # fmt: skip
        return True

    def _measure(self, kind: str, trial: int) -> None:
        size = self.store.size_bytes(kind, _name(trial))
        self.sizes.pop((kind, trial), None)
        if size:
            self.sizes[kind, trial] = size


def needed(rows: Rows, aim: Aim, profiles: Sequence[Mapping[str, Any]] = ()) -> set[int]:
    """Trials whose students can still be chosen: see the head of this file."""
    students = by_configuration(rows, aim.axes)
    seeds: dict[Any, set[int]] = {}
    for row in rows:
        if row.status in STUDENTS:
            seeds.setdefault(configuration(row, aim.axes), set()).add(row.seed)
    found = {row.owner for row in front_of(rows, aim)}
    found |= {row.owner for row in students if len(seeds[configuration(row, aim.axes)]) > 1}
    for view in views(students, profiles):
        measured = [o for o in all_objectives().values() if any(row.value(o.column) is not None for row in view)]
        rank_N = ranks(costs_of_rows(view, measured))
        found |= {row.owner for row, rank in zip(view, rank_N, strict=True) if rank < NEEDED_FRONTS}
    return found


def views(students: Rows, profiles: Sequence[Mapping[str, Any]]) -> list[list[TrialRow]]:
    """The students with the costs of the study, and with those that each profile measured."""
    found = [list(students)]
    for name in sorted({row["profile"] for row in profiles}):
        measured = {row["trial"]: row for row in profiles if row["profile"] == name}
        found.append([_measured_again(row, measured.get(row.trial, {})) for row in students])
    return found


def _measured_again(row: TrialRow, profile: Mapping[str, Any]) -> TrialRow:
    """A row with the costs of a profile; what the profile does not have is unknown."""
    again = {cost.column: profile[cost.column] for cost in PROFILED if profile.get(cost.column) is not None}
    kept = {name: value for name, value in row.costs.items() if name not in {cost.column for cost in PROFILED}}
    return replace(row, costs={**kept, **again})


def beaten(rows: Rows, kept: set[int]) -> list[TrialRow]:
    """Finished trials that nobody needs, the most beaten first: by front, and on one front by quality."""
    finished = [row for row in rows if row.status == "finished" and row.trial not in kept]
    measured = [o for o in all_objectives().values() if any(row.value(o.column) is not None for row in finished)]
    rank_N = ranks(costs_of_rows(finished, measured)) if finished else np.zeros(0, dtype=int)
    order = sorted(range(len(finished)), key=lambda i: (-rank_N[i], finished[i].rank_quality, finished[i].trial))
    return [finished[i] for i in order]


def _name(trial: int) -> str:
    return f"{trial:05d}"
