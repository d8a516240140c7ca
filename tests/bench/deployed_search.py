"""What `[deploy]` costs a search: the same search without it and with ONNX int8, one after the other.

python tests/bench/deployed_search.py FOLDER [--trials 4] [--minutes 9]    # about 8 minutes on two idle cores

The spec is that of `make search` with random draws, so that both train the same students. CPU seconds are of all
processes, whatever else the machine does. Those of lanes are what trials take; the rest is preparation and Ray, where
the first search fills the cache that the second finds, but for the files of shapes. A call that has used its minutes
stops the search, and the next call on the same folder goes on.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import suite_cost

from analysis import load

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "search/specs/quick.toml"
WITHOUT, WITH = "without", "onnx_int8"
SEARCHES = {WITHOUT: (), WITH: ("deploy.runtime=onnx", "deploy.precision=int8")}
"""By name, in their order, what is set."""
LANES = "Ray: lanes"
PHASES = ("start_up_s", "train_s", "evaluate_s", "profile_s")
EVERY_S, GRACE_S = 0.5, 60


def run(command: list[str], until: float) -> tuple[bool, Counter[str]]:
    """Run a command, stopped at a moment of the clock; whether it ended by itself, and CPU s by kind of process."""
    mark = f"{suite_cost.MARK}={os.getpid()}."
    environment = os.environ | {suite_cost.MARK: mark.partition("=")[2], "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "search.cli", *command], cwd=ROOT, env=environment)
    kinds: dict[str, str] = {}
    spent: dict[str, float] = {}
    known: dict[str, bool] = {}
    stopped = 0.0
    while process.poll() is None:
        for key, (text, cpu_s) in suite_cost.read(mark, known).items():
            kind = suite_cost.kind_of(text)
            kinds[key] = LANES if kinds.get(key) == LANES else kind  # between trials a lane is called idle
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
        "\n| search | trials | CPU s | of lanes | " + " | ".join(PHASES) + " |\n" + "| --- " * (4 + len(PHASES)) + "|"
    )
    for name in SEARCHES:
        rows = load(str(folder / name)).finished
        sums = " | ".join(f"{rows[phase].sum():.1f}" for phase in PHASES)
        print(f"| {name} | {len(rows)} | {sum(spent[name].values()):.0f} | {spent[name][LANES]:.0f} | {sums} |")
    first, second = (sum(each.values()) - each[LANES] for each in (spent[WITHOUT], spent[WITH]))
    lanes = spent[WITH][LANES] / spent[WITHOUT][LANES]
    print(f"\nlanes: {lanes:.2f} times; beside them {first:.0f} CPU s, then {second:.0f} with that in the cache\n")
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
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=9.0)
    args = parser.parse_args()
    until = time.time() + 60 * args.minutes
    args.folder.mkdir(parents=True, exist_ok=True)
    record = args.folder / "cpu_s.json"
    known = json.loads(record.read_text()) if record.exists() else {"ended": [], "spent": {}}
    for name, own in SEARCHES.items():
        if name in known["ended"]:
            continue
        changes = ["search.sampler=random", f"budget.trials={args.trials}", *own]
        sets = [word for change in changes for word in ("--set", change)]
        ended, sums = run(["run", str(SPEC), str(args.folder / name), *sets], until)
        known["spent"][name] = dict(Counter(known["spent"].get(name, {})) + sums)
        known["ended"] += [name] if ended else []
        record.write_text(json.dumps(known))
        if not ended:
            print(f"{name}: not at its end; call again")
            return
    show(args.folder, known["spent"])


if __name__ == "__main__":
    main()
