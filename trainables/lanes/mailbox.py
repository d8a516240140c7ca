"""Where a lane meets its ranks: jobs one way, reports and outcomes the other.

Plain asyncio; lane.py makes it an actor. Every message carries the key of its trial, so that nothing of a trial that
was given up reaches the next one.
"""

import asyncio
import contextlib
from typing import Any

from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.lanes.settings import RANKS_APART_S
from trainables.training.reports import TrialReport


class Mailbox:
    """Waiting costs nothing: every method is a coroutine."""

    def __init__(self, world_size: int, ranks_apart_s: float = RANKS_APART_S) -> None:
        self.world_size, self.ranks_apart_s = world_size, ranks_apart_s
        self.jobs: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in range(world_size)]
        self.messages: asyncio.Queue[tuple[str, str, Any]] = asyncio.Queue()
        self.current: str | None = None
        self.ranks: dict[int, bytes] = {}
        self.nodes: set[str] = set()
        self.notice = asyncio.Event()
        self.ended: dict[int, TrialOutcome] = {}
        self.all_ended = asyncio.Event()
        self.judged = asyncio.Event()
        self.taken: set[int] = set()

    async def submit(self, key: str | None, job: TrialJob | None) -> None:
        """Give every rank the job, or None to send it home."""
        self.current, self.ended, self.all_ended, self.taken = key, {}, asyncio.Event(), set()
        self.judged.set()
        for queue in self.jobs:
            await queue.put(None if job is None else (key, job))

    async def cancel(self) -> None:
        self.current = None
        self.judged.set()

    async def join(self, rank: int, actor: bytes, node: str) -> None:
        """A rank is up; `actor` is its pickled handle, `node` where it is."""
        self.ranks[rank] = actor
        self.nodes.add(node)

    async def warn(self, leaving: set[str], anyway: bool) -> bool:
        """Tell all ranks to leave if one of them is on these nodes, or anyway; whether they were told."""
        if anyway or self.nodes & leaving:
            self.notice.set()
        return self.notice.is_set()

    async def told(self) -> None:
        """Wait until the ranks have to leave."""
        await self.notice.wait()

    async def leave(self, key: str, why: str) -> None:
        """All ranks have left a trial, whose checkpoint is written."""
        await self.messages.put((key, "left", why))

    async def members(self) -> list[bytes]:
        """The pickled handles of the ranks that are up."""
        return list(self.ranks.values())

    async def next_job(self, rank: int) -> Any:
        """Wait for a trial. The last rank to take it says so: until then the group is only starting."""
        delivery = await self.jobs[rank].get()
        self.taken.add(rank)
        if delivery is not None and len(self.taken) == self.world_size:
            await self.messages.put((delivery[0], "taken", None))
        return delivery

    async def report(self, key: str, report: TrialReport) -> bool:
        """Pass a report on; False means that the trial is no longer wanted. At a rung, wait for what is decided."""
        if key != self.current:
            return False
        self.judged.clear()
        await self.messages.put((key, "report", report))
        if report.scores is not None:
            await self.judged.wait()
        return key == self.current

    async def finish(self, key: str, rank: int, outcome: TrialOutcome) -> bool:
        """Hand over a rank's outcome; True when all ranks ended the trial, so that the group is fit for the next."""
        if key != self.current:
            return self.world_size == 1
        self.ended[rank] = outcome
        if len(self.ended) == self.world_size:
            self.all_ended.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.all_ended.wait(), self.ranks_apart_s)
        together = self.all_ended.is_set()
        if key == self.current and rank == min(self.ended):
            failed = [self.ended[r] for r in sorted(self.ended) if self.ended[r].reason]
            await self.messages.put((key, "outcome", failed[0] if failed else outcome))
        return together

    async def next_message(self, key: str, timeout_s: float) -> tuple[str, Any] | None:
        """The next report or outcome of a trial; what is left of earlier ones is dropped.

        Who asks for more has seen everything before and wants the trial to go on.
        """
        if self.messages.empty():
            self.judged.set()
        while True:
            try:
                sender, kind, content = await asyncio.wait_for(self.messages.get(), timeout_s)
            except TimeoutError:
                return None
            if sender == key:
                return kind, content
