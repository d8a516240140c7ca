"""What `[deploy]` costs a search: the same search without it and with ONNX int8, one after the other.

python tests/bench/deployed_search.py FOLDER [--trials 6] [--minutes 9]    # about 15 minutes on two idle cores

The spec is that of `make search` with random draws, so that both train the same students. CPU seconds are of all
processes of a search, whatever else the machine does; those of phases of trials are by the clock. A call that has used
its minutes stops the search, and the next call on the same folder goes on. Searches of one trial fill the cache first:
what is measured once per machine is counted there.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import suite_cost

from analysis import load

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "search/specs/quick.toml"
DEPLOY = ("deploy.runtime=onnx", "deploy.precision=int8")
WITHOUT, WITH = "without", "onnx_int8"
SEARCHES = {f"first_{WITHOUT}": (), f"first_{WITH}": DEPLOY, WITHOUT: (), WITH: DEPLOY}
"""By name, in their order, what is set; the first ones have one trial."""
PHASES = ("start_up_s", "train_s", "evaluate_s", "profile_s")
EVERY_S, GRACE_S = 0.5, 60


def run(command: list[str], until: float) -> tuple[bool, float]:
    """Run a command, stopped at a moment of the clock; whether it ended by itself, and CPU s of all its processes."""
    mark = f"{suite_cost.MARK}={os.getpid()}."
    environment = os.environ | {suite_cost.MARK: mark.partition("=")[2], "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "search.cli", *command], cwd=ROOT, env=environment)
    spent: dict[str, float] = {}
    known: dict[str, bool] = {}
    stopped = 0.0
    while process.poll() is None:
        spent |= {key: cpu_s for key, (_, cpu_s) in suite_cost.read(mark, known).items()}
        if time.time() > max(until, stopped + GRACE_S):
            stopped = time.time()
            process.send_signal(signal.SIGINT)
        time.sleep(EVERY_S)
    return not stopped and process.returncode == 0, sum(spent.values())


def show(folder: Path, spent: dict[str, float]) -> None:
    """Print what all took, and the students of the search that is scored by its files."""
    print("\n| search | trials | CPU s | " + " | ".join(PHASES) + " |\n" + "| --- " * (3 + len(PHASES)) + "|")
    for name in SEARCHES:
        rows = load(str(folder / name)).finished
        sums = " | ".join(f"{rows[phase].sum():.1f}" for phase in PHASES)
        print(f"| {name} | {len(rows)} | {spent[name]:.0f} | {sums} |")
    print(f"\n{WITH} : {WITHOUT} = {spent[WITH] / spent[WITHOUT]:.2f} in CPU seconds\n")
    print("| student | quality, file | in torch | MB | ms |\n| --- | --- | --- | --- | --- |")
    rows = load(str(folder / WITH)).finished.sort_values("quality")
    for _, row in rows.iterrows():
        print(
            f"| {row['num_layers']}x{row['hidden_size']} by {row['method']} | {row['quality']:.3f} | "
            f"{row['torch_quality']:.3f} | {row['disk_mb']:.1f} | {row['latency_p50_ms']:.2f} |"
        )


def main() -> None:
    """Go on with the searches; print the tables once all have ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=9.0)
    args = parser.parse_args()
    until = time.time() + 60 * args.minutes
    args.folder.mkdir(parents=True, exist_ok=True)
    record = args.folder / "cpu_s.json"
    known = json.loads(record.read_text()) if record.exists() else {"ended": [], "spent": dict.fromkeys(SEARCHES, 0.0)}
    for name, own in SEARCHES.items():
        if name in known["ended"]:
            continue
        trials = 1 if name.startswith("first") else args.trials
        changes = ["search.sampler=random", f"budget.trials={trials}", *own]
        sets = [word for change in changes for word in ("--set", change)]
        ended, cpu_s = run(["run", str(SPEC), str(args.folder / name), *sets], until)
        known["spent"][name] += cpu_s
        known["ended"] += [name] if ended else []
        record.write_text(json.dumps(known))
        if not ended:
            print(f"{name}: not at its end; call again")
            return
    show(args.folder, known["spent"])


if __name__ == "__main__":
    main()
