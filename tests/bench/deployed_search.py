"""What `[deploy]` costs a search: a part of that of `make search`, without it and with ONNX int8, in turns.

python tests/bench/deployed_search.py FOLDER [--minutes 9]    # about 15 minutes on two idle cores, two calls

Two shapes with two initialisations, as many trials as starts, tokens and tasks as in `make search`; random draws, so
that both searches train the same students. The cache is theirs alone, and warm: a trial of each search without starts
comes before. CPU seconds are of all processes, whatever else the machine does. Those of the lanes' workers are what
trials take; the rest is preparation and Ray, once per turn. A call that has used its minutes stops, and the next call
on the same folder goes on.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import suite_cost

from analysis import load

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "search/specs/quick.toml"
WITHOUT, WITH = "without", "onnx_int8"
SEARCHES = {WITHOUT: (), WITH: ("deploy.runtime=onnx", "deploy.precision=int8")}
"""By name, in their order, what is set."""
PART = (
    "search.sampler=random", 'space.shape=["2x96", "3x144"]', 'space.initialisation=["first_layers", "pruned_layers"]'
)  # fmt: skip
"""Of `make search`, in both."""
TURNS = (2, 4)
"""Trials of a search at the end of each of its turns."""
WARM = ("evaluation.starts=false", "budget.trials=1")
WORKERS = "Ray: trials"
PHASES = ("start_up_s", "train_s", "evaluate_s", "profile_s")
EVERY_S, GRACE_S = 0.5, 60


def run(folder: Path, changes: Sequence[str], until: float) -> tuple[bool, Counter[str]]:
    """Run a search, stopped at a moment of the clock; whether it ended by itself, and CPU s by kind of process."""
    command = ["run", str(SPEC), str(folder), *(word for change in changes for word in ("--set", change))]
    mark = f"{suite_cost.MARK}={os.getpid()}."
    environment = os.environ | {
        suite_cost.MARK: mark.partition("=")[2], "PYTHONPATH": str(ROOT),
        "STILLHOUSE_CACHE": str(folder.parent / "cache"),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "search.cli", *command], cwd=ROOT, env=environment)
    kinds: dict[str, str] = {}
    spent: dict[str, float] = {}
    known: dict[str, bool] = {}
    stopped = 0.0
    while process.poll() is None:
        for key, (text, cpu_s) in suite_cost.read(mark, known).items():
            kind = suite_cost.kind_of(text)
            kinds[key] = WORKERS if kinds.get(key) == WORKERS else kind  # between trials a worker may be called idle
            spent[key] = cpu_s
        if time.time() > max(until, stopped + GRACE_S):
            stopped = time.time()
            process.send_signal(signal.SIGINT)
        time.sleep(EVERY_S)
    sums: Counter[str] = Counter()
    for key, cpu_s in spent.items():
        sums[kinds[key]] += cpu_s  # type: ignore[assignment]
    return not stopped and process.returncode == 0, sums


def show(folder: Path, spent: dict[str, dict[str, float]]) -> None:
    """Print what both took, and the students of the search that is scored by its files."""
    print(
        "\n| search | trials | CPU s | of workers | " + " | ".join(PHASES) + " |\n" + "| --- " * (4 + len(PHASES)) + "|"
    )
    for name in SEARCHES:
        rows = load(str(folder / name)).finished
        sums = " | ".join(f"{rows[phase].sum():.1f}" for phase in PHASES)
        print(f"| {name} | {len(rows)} | {sum(spent[name].values()):.0f} | {spent[name][WORKERS]:.0f} | {sums} |")
    own, other = spent[WITH], spent[WITHOUT]
    workers, whole = own[WORKERS] / other[WORKERS], sum(own.values()) / sum(other.values())
    print(f"\nworkers: {workers:.2f} times; with preparation and Ray, {whole:.2f} times\n")
    print("| student | quality, file | in torch | MB | ms |\n| --- | --- | --- | --- | --- |")
    rows = load(str(folder / WITH)).finished.sort_values("quality")
    for _, row in rows.iterrows():
        print(
            f"| {row['num_layers']}x{row['hidden_size']} by {row['method']} | {row['quality']:.3f} | "
            f"{row['torch_quality']:.3f} | {row['disk_mb']:.1f} | {row['latency_p50_ms']:.2f} |"
        )


def main() -> None:
    """Go on with the searches; print the tables once both have ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    args = parser.parse_args()
    until = time.time() + 60 * args.minutes
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "cpu_s.json"
    known = json.loads(record.read_text()) if record.exists() else {"ended": [], "spent": {}}
    warm = [(f"warm_{name}", f"warm_{name}", WARM) for name in SEARCHES]
    turns = [(f"{name} {trials}", name, (f"budget.trials={trials}",)) for trials in TURNS for name in SEARCHES]
    for turn, name, more in [*warm, *turns]:
        if turn in known["ended"]:
            continue
        ended, sums = run(folder / name, [*PART, *SEARCHES[name.removeprefix("warm_")], *more], until)
        known["spent"][name] = dict(Counter(known["spent"].get(name, {})) + sums)
        known["ended"] += [turn] if ended else []
        record.write_text(json.dumps(known))
        if not ended:
            print(f"{turn}: not at its end; call again")
            return
    show(folder, known["spent"])


if __name__ == "__main__":
    main()
