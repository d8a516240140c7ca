"""The time of one call, median and 95th percentile, taken in rounds; and the pace of the machine at that moment.

A thread that does all the work alone is timed by its own CPU clock: what it waits for a core does not count, and a busy
machine gives the number of an idle one, but for what caches and frequency do. Where several threads work, or a GPU, the
clock on the wall counts, and beside it stands for how long a thread waited for a core.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from spaces.records.latency import STEADY, LatencySpec
from trainables.machine import pinned_threads, waits_s

WARMUP_RUNS = 3
ROUNDS, ATTEMPTS = 3, 3
MINIMUM_RUNS, MAXIMUM_RUNS, TIME_CAP_S = 2, 33, 0.33
"""Of a round."""


@dataclass(frozen=True)
class Latency:
    """Median and 95th percentile over `runs` forward passes, and by what share of it the median moved meanwhile."""

    p50_ms: float
    p95_ms: float
    runs: int
    moved: float
    disk_mb: float | None = None
    """Size of the file that was run, where it is one."""

    @property
    def columns(self) -> dict[str, float]:
        """Those of the cost."""
        return {"latency_p50_ms": self.p50_ms, "latency_p95_ms": self.p95_ms, "latency_moved": self.moved}


def works_alone(threads: int, device: str) -> bool:
    """Whether the thread that asks for a pass does all of its work."""
    return threads == 1 and device == "cpu"


def reference_ms(latency: LatencySpec) -> float:
    """Median time of a fixed piece of work on the device and threads of `latency`: the pace of the machine now."""
    with pinned_threads(latency.threads):
        work = _fixed_work(latency.device)
        for _ in range(WARMUP_RUNS):
            work()
        return float(np.median(_round(work, _clock(works_alone(latency.threads, latency.device)))))


def unsettled(latency: LatencySpec) -> float:
    """By what share a fixed piece of work moves here now, however often it is timed: no student would move less."""
    with pinned_threads(latency.threads):
        return time_passes(_fixed_work(latency.device), alone=works_alone(latency.threads, latency.device)).moved


def _fixed_work(device: str) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    x_TD, up_DF, down_FD = (
        torch.randn(shape, generator=generator).to(device) for shape in ((128, 384), (384, 1536), (1536, 384))
    )

    @torch.inference_mode()
    def work() -> None:
        for _ in range(4):
            torch.nn.functional.gelu(x_TD @ up_DF) @ down_FD
        if device == "cuda":
            torch.cuda.synchronize()

    return work


def _clock(alone: bool) -> Callable[[], float]:
    return time.thread_time if alone else time.perf_counter


def time_passes(forward: Callable[[], object], *, alone: bool, turns: int = 1) -> Latency:
    """Time calls, after three that do not count; up to three times, until they are steady, and the steadiest counts.

    alone: the calling thread does all the work, so that its CPU time is what a call takes. turns: of how many calls
    that differ it takes one after the other; each round has all of them equally often.
    """
    for _ in range(max(WARMUP_RUNS, turns)):
        forward()
    best = _attempt(forward, alone, turns)
    for _ in range(ATTEMPTS - 1):
        if best.moved > STEADY:
            best = min(best, _attempt(forward, alone, turns), key=lambda each: each.moved)
    return best


def _attempt(forward: Callable[[], object], alone: bool, turns: int) -> Latency:
    """Three rounds of up to 33 calls within a third of a second, two at least, or all turns once."""
    before, started = waits_s(), time.perf_counter()
    rounds = [_round(forward, _clock(alone), turns) for _ in range(ROUNDS)]
    took_s, after = time.perf_counter() - started, waits_s()
    medians_R = [np.median(passes_ms) for passes_ms in rounds]
    moved = max(medians_R) / min(medians_R) - 1
    if not alone:
        waited_s = max((after[thread] - before.get(thread, 0.0) for thread in after), default=0.0)
        moved = max(moved, took_s / max(took_s - waited_s, 1e-9) - 1)
    passes_ms = np.concatenate(rounds)
    p50_ms, p95_ms = np.percentile(passes_ms, [50, 95])
    return Latency(float(p50_ms), float(p95_ms), len(passes_ms), float(moved))


def _round(forward: Callable[[], object], clock: Callable[[], float], turns: int = 1) -> np.ndarray:
    """(passes,): ms of each call by a clock."""
    passes_ms: list[float] = []
    started = time.perf_counter()
    while len(passes_ms) < MINIMUM_RUNS or (
        len(passes_ms) < MAXIMUM_RUNS and time.perf_counter() - started < TIME_CAP_S
    ):
        for _ in range(turns):
            before = clock()
            forward()
            passes_ms.append(1000 * (clock() - before))
    return np.array(passes_ms)
