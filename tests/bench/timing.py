"""What the benchmarks share: rounds that are interleaved, so that a busy machine slows all contenders alike."""

import datetime
import statistics
import time
from collections.abc import Callable

import torch

from trainables.machine import hardware, versions


def timed(run: Callable[[], object], device: str = "cpu") -> Callable[[], float]:
    """A function that runs `run` to its end and returns the seconds, of one thread on a CPU those of the processor."""
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter

    def seconds() -> float:
        start = clock()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    return seconds


def interleaved(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median of what each returns over rounds in which each runs once, after a round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            value = run()
            if number:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def milliseconds(seconds: float) -> str:
    """Whole ones, or three digits of few."""
    return f"{1000 * seconds:.0f}" if seconds >= 0.1 else f"{1000 * seconds:.3g}"


def setting(*packages: str) -> str:
    """Hardware, threads, versions and date in one line."""
    found = versions()
    named = ", ".join(f"{name} {found[name]}" for name in ("torch", *packages) if name in found)
    return f"{hardware()}; threads used: {torch.get_num_threads()}; {named}; {datetime.date.today()}"


def print_table(columns: list[str], rows: list[list[object]]) -> None:
    """Markdown."""
    print("\n| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
