"""What a study of many trials costs those who read it: each trial in files of its own, then the same study in packs.

    python tests/bench/many_trials.py [--trials 10000]     # about two minutes, and 1 GB of files of 4 KB

Each command runs in a process of its own; seconds and peak memory are those of the process, imports included. "open" is
what a resume reads.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "analysis")]

from fake_studies import add_reports, random_rows, write_part, write_study  # noqa: E402
from timing import print_table, setting  # noqa: E402

from search.store.parts import Store, now  # noqa: E402
from spaces.records.columns import asked_columns  # noqa: E402

POINTS = 20
PEAK = """
import atexit, sys
def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(line.split()[1], file=sys.stderr)
atexit.register(peak)
"""
OPEN = (
    PEAK
    + """
from search.store.history import History
from search.store.parts import Store
print(len(History(Store.of(sys.argv[1])).tally.by_trial))
"""
)
SHOW = (
    PEAK
    + """
from search.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
)
LIMITED = ["--max-parameters", "8M"]


def commands(folder: Path) -> dict[str, list[str]]:
    """What is measured, by name."""
    return {
        "open": [OPEN, str(folder)],
        "front": [SHOW, "front", str(folder)],
        "best": [SHOW, "best", str(folder), *LIMITED],
        "report": [SHOW, "report", str(folder), "--out", str(folder.parent / "page.html")],
    }


def measure(command: list[str]) -> tuple[float, float, str]:
    """(seconds, peak MiB, what it said)"""
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", *command], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
    )  # fmt: skip
    return time.perf_counter() - started, int(run.stderr.split()[-1]) / 1024, run.stdout


def write(folder: Path, trials: int) -> None:
    """The study as a search without packs leaves it."""
    rows = random_rows(trials)
    write_study(folder, rows)
    add_reports(folder, rows, points=POINTS)
    for row in rows:
        config = json.dumps({"method": row["method"]})
        asked = {"trial": row["trial"], "config_hash": row["config_hash"], "config": config, "seed": 0}
        name = f"part-{row['trial']:05d}.parquet"
        write_part(folder / "asked", name, asked_columns(), [{**asked, "asked_at": now()}])


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", default=[], help="of open, front, best, report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "study"
        write(folder, options.trials)
        chosen = {name: line for name, line in commands(folder).items() if name in (options.only or commands(folder))}
        loose = {name: measure(line) for name, line in chosen.items()}
        started = time.perf_counter()
        with Store.of(folder).locked():
            pass
        packed_s = time.perf_counter() - started
        packed = {name: measure(line) for name, line in chosen.items()}
        files = len(list(folder.glob("*/*.parquet")))
    assert all(loose[name][2] == packed[name][2] for name in chosen)
    print(f"{options.trials:,} trials of {POINTS} reports; {setting()}")
    print(f"packed in {packed_s:.0f} s, once; {files} files are left")
    rows = [
        [name, f"{loose[name][0]:.1f}", f"{packed[name][0]:.2f}", f"{loose[name][0] / packed[name][0]:.1f}x",
         f"{packed[name][1]:.0f}"]
        for name in chosen
    ]  # fmt: skip
    print_table(["", "a file for each trial, s", "in packs, s", "faster", "peak memory in packs, MiB"], rows)


if __name__ == "__main__":
    main()
