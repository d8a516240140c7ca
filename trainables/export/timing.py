"""The time of one call, median and 95th percentile, taken in rounds; and the pace of the machine at that moment."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from spaces.records.latency import STEADY, LatencySpec
from trainables.machine import pinned_threads

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


@torch.inference_mode()
def reference_ms(latency: LatencySpec) -> float:
    """Median time of a fixed piece of work on the device and threads of `latency`: the pace of the machine now."""
    generator = torch.Generator().manual_seed(0)
    x_TD, up_DF, down_FD = (
        torch.randn(shape, generator=generator).to(latency.device) for shape in ((128, 384), (384, 1536), (1536, 384))
    )

    def work() -> None:
        for _ in range(4):
            torch.nn.functional.gelu(x_TD @ up_DF) @ down_FD
        if latency.device == "cuda":
            torch.cuda.synchronize()

    with pinned_threads(latency.threads):
        for _ in range(WARMUP_RUNS):
            work()
        return float(np.median(_round(work)[:, 0]))


def time_passes(forward: Callable[[], object], *, alone: bool, turns: int = 1) -> Latency:
    """Time calls, after three that do not count; up to three times, until they are steady, and the steadiest counts.

    alone: the calling thread does all the work, so that its CPU time tells how long it waited for a core. turns: of how
    many calls that differ it takes one after the other; each round has all of them equally often.
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
    rounds = [_round(forward, turns) for _ in range(ROUNDS)]
    medians_R = [np.median(passes_N2[:, 0]) for passes_N2 in rounds]
    wall_N, cpu_N = np.concatenate(rounds).T
    p50_ms, p95_ms = np.percentile(wall_N, [50, 95])
    waited = p50_ms / np.median(cpu_N) - 1 if alone else 0.0
    moved = max(max(medians_R) / min(medians_R) - 1, waited)
    return Latency(float(p50_ms), float(p95_ms), len(wall_N), float(moved))


def _round(forward: Callable[[], object], turns: int = 1) -> np.ndarray:
    """(passes, 2): ms of each call by the clock, and of the calling thread on a core."""
    passes: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(passes) < MINIMUM_RUNS or (len(passes) < MAXIMUM_RUNS and time.perf_counter() - started < TIME_CAP_S):
        for _ in range(turns):
            wall, cpu = time.perf_counter(), time.thread_time()
            forward()
            passes.append((1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - cpu)))
    return np.array(passes)
