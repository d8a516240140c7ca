"""500 trials on one lane: is its memory flat, and is the last trial of a lane what it would be in a fresh process?

python tests/bench/lane_soak.py                # about 10 minutes on two cores
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import small_study

from spaces.values import from_json, to_json
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.machine import hardware, versions

MIB = 2**20
SAMPLES = 4
"""How many trials are run again in a process of their own."""


def trial(job: TrialJob, report, rank: int, world_size: int) -> TrialOutcome:
    """The trial function of a study, which also measures its process after the trial."""
    from trainables.lanes.trial import run_trial

    outcome = run_trial(job, report, rank, world_size)
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with Path(job.folder).parent.parent.joinpath("memory.jsonl").open("a") as file:
        measured = {"trial": job.trial, "resident_mib": resident / MIB, "pid": os.getpid(), "job": to_json(job),
                    "held_out_loss": outcome.trained.held_out_loss, "quality": outcome.scores.quality}  # fmt: skip
        file.write(json.dumps(measured) + "\n")
    return outcome


def alone(text: str, folder: Path) -> TrialOutcome:
    """The same trial, its job as JSON, in a fresh process."""
    job = from_json(TrialJob, text)
    job = replace(job, folder=str(folder / "alone"), student_folder=str(folder / f"alone-{job.trial}"))
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from spaces.values import from_json, to_json\n"
        "from trainables.lanes.messages import TrialJob\n"
        "from trainables.lanes.trial import run_trial\n"
        "from trainables.lanes.worker import attempt\n"
        "print(to_json(attempt(run_trial, from_json(TrialJob, sys.argv[1]), lambda report: None)))"
    )
    done = subprocess.run([sys.executable, "-c", code, to_json(job)], capture_output=True, text=True, check=True)
    return from_json(TrialOutcome, done.stdout.splitlines()[-1])


def main() -> None:
    """Run the study, repeat some of its trials alone, print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder for the study")
    options = parser.parse_args()

    import dataclasses

    from search.phases import runner

    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    made = runner.make_plan
    runner.make_plan = lambda *args: dataclasses.replace(made(*args), function="lane_soak:trial")
    changes = {
        "budget": {"trials": options.trials, "train_tokens": 1024},
        "space": {"learning_rate": {"low": 1e-4, "high": 3e-3, "log": True}},
        "cluster": {"concurrent_trials": 1},
        "tasks": [{**small_study.read_table()["tasks"][0], "max_train": 100, "max_dev": 100}],
    }
    runner.run_study(small_study.read_study(changes), str(options.out / "study"), runner.Driver())
    rows = [json.loads(line) for line in (options.out / "study" / "memory.jsonl").read_text().splitlines()]
    print(f"\n{len(rows)} trials; {hardware()}; torch {versions()['torch']}, ray {versions()['ray']}\n")
    print("| trials | resident memory, MiB (mean) |\n| --- | --- |")
    tenth = max(1, len(rows) // 10)
    for start in range(0, len(rows) - tenth + 1, tenth):
        part = rows[start : start + tenth]
        print(f"| {start + 1} to {start + len(part)} | {sum(r['resident_mib'] for r in part) / len(part):.0f} |")
    print(f"\nprocesses that ran them: {len({row['pid'] for row in rows})}")
    for row in (rows[i * (len(rows) - 1) // (SAMPLES - 1)] for i in range(SAMPLES)):
        again = alone(row["job"], options.out)
        same = (again.trained.held_out_loss, again.scores.quality) == (row["held_out_loss"], row["quality"])
        print(f"trial {row['trial']} in a fresh process: {'the same bits' if same else f'DIFFERS: {again}'}")


if __name__ == "__main__":
    main()
