"""What the tests cost in CPU seconds, by kind of process and by test file, whatever else the machine does meanwhile.

python tests/bench/suite_cost.py                           # everything, in one process and its children
python tests/bench/suite_cost.py tests/test_end_to_end.py  # arguments of pytest

Wall time of `make test` on two idle cores is about half of the sum: the tests leave neither core idle. A process is
found by a mark in its environment and read five times a second, so that what lives shorter is missed.
"""

import collections
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EVERY_S = 0.2
MARK = "STILLHOUSE_COST"
TICKS = os.sysconf("SC_CLK_TCK")
KINDS = (
    (r"ray::IDLE", "Ray: workers that wait"), (r"ray::RayTrainWorker", "Ray: trials"), (r"ray::", "Ray: lanes"),
    (r"ray/core|/ray/(dashboard|_private)|ray\.scripts", "Ray: nodes"), (r"-m pytest", "pytest"),
    (r"chrom|playwright", "browser"), (r"toy\.py|search\.cli", "drivers"),
)  # fmt: skip
"""A pattern in the command line and the kind of process that it means; the first that matches."""


def kind_of(command: str) -> str:
    """The row of the table for a process."""
    return next((kind for pattern, kind in KINDS if re.search(pattern, command)), "other")


def read(mark: str, known: dict[str, bool]) -> dict[str, tuple[str, float]]:
    """{process id and start: (command, CPU seconds)} of the processes that run now and carry the mark."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            numbers = (entry / "stat").read_text().rpartition(")")[2].split()
            key = f"{entry.name} {numbers[19]}"
            if key not in known and (environment := (entry / "environ").read_bytes()):
                known[key] = mark.encode() in environment
            if known.get(key):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[key] = command, (int(numbers[11]) + int(numbers[12])) / TICKS
        except OSError:
            continue
    return found


def main() -> int:
    """Run pytest and print the table."""
    mark = f"{MARK}={os.getpid()}."
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "suite_cost", *sys.argv[1:]]
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    tests = subprocess.Popen(command, env=os.environ | {MARK: mark.partition("=")[2], "PYTHONPATH": path})
    processes: dict[str, tuple[str, float]] = {}
    known: dict[str, bool] = {}
    while tests.poll() is None:
        for key, (text, cpu_s) in read(mark, known).items():
            before = processes.get(key, ("", 0.0))[0]
            named = before if not text or (before.startswith("ray::") and text.startswith("ray::IDLE")) else text
            processes[key] = named, cpu_s
        time.sleep(EVERY_S)
    sums: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    for text, cpu_s in processes.values():
        sums[kind_of(text)] += cpu_s  # type: ignore[assignment]
        counts[kind_of(text)] += 1
    print("\n| processes | number | CPU s |\n| --- | --- | --- |")
    for kind, cpu_s in sums.most_common():
        print(f"| {kind} | {counts[kind]} | {cpu_s:.1f} |")
    print(f"| all | {len(processes)} | {sum(sums.values()):.1f} |")
    return tests.returncode


files: collections.Counter[str] = collections.Counter()
"""CPU seconds of pytest, and of children that have ended, by test file."""


def spent_s() -> float:
    """CPU seconds of this process and of children that it has waited for."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """A test, with what it sets up."""
    before = spent_s()
    try:
        return (yield)
    finally:
        files[item.nodeid.partition("::")[0]] += spent_s() - before  # type: ignore[assignment]


def pytest_collection_finish():
    """What every worker of xdist pays once."""
    files["collection"] += spent_s()  # type: ignore[assignment]


def pytest_terminal_summary(terminalreporter):
    """The dearest files."""
    for name, cpu_s in files.most_common(40):
        terminalreporter.write_line(f"{cpu_s:7.1f} s  {name}")


if __name__ == "__main__":
    raise SystemExit(main())
