"""500 trials on one lane: is its memory flat, and is the last trial of a lane what it would be in a fresh process?

Also what lane and driver have of memory for themselves, and what of that their libraries take before any work.

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

SAMPLES = 4
"""How many trials are run again in a process of their own."""


FLOORS = {
    "lane": ("ray", "torch", "ray.train", "transformers.modeling_utils", "trainables.lanes.trial"),
    "driver": ("ray", "torch", "ray.tune", "transformers.modeling_utils", "search.phases.runner"),
}
"""What the processes import, from what they cannot do without to what is ours."""


def memory_mib() -> tuple[float, float]:
    """(private, resident) of this process: what it alone has, and that with what it shares."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kib = {line.split()[0]: float(line.split()[1]) for line in lines}
    return (kib["Private_Clean:"] + kib["Private_Dirty:"]) / 1024, kib["Rss:"] / 1024


def floor(modules: tuple[str, ...]) -> list[str]:
    """Rows of a fresh process that imports these modules one after the other."""
    code = (
        "import importlib, sys, lane_soak\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    print('| imports: {} | {:.0f} | {:.0f} |'.format(name, *lane_soak.memory_mib()))"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def held_out_loss(outcome: TrialOutcome) -> float | None:
    """None of a start, which is not trained."""
    return None if outcome.trained is None else outcome.trained.held_out_loss


def trial(job: TrialJob, report, rank: int, world_size: int) -> TrialOutcome:
    """The trial function of a study, which also measures its process after the trial."""
    from trainables.lanes.trial import run_trial

    before = memory_mib()[0]  # with what the last trial left
    outcome = run_trial(job, report, rank, world_size)
    private, resident = memory_mib()
    with Path(job.folder).parent.parent.joinpath("memory.jsonl").open("a") as file:
        measured = {
            "trial": job.trial, "resident_mib": resident, "private_mib": private, "between_mib": before,
            "pid": os.getpid(), "job": to_json(job), "held_out_loss": held_out_loss(outcome),
            "quality": outcome.scores.quality,
        }  # fmt: skip
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
    made, tuned, driver = runner.make_plan, runner.tune_study, []

    def tune(*args):
        driver.extend(memory_mib())
        return tuned(*args)

    runner.tune_study = tune
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
    print("| trials | resident, MiB (mean) | private, after a trial | private, before one |\n| --- | --- | --- | --- |")
    tenth = max(1, len(rows) // 10)
    for start in range(0, len(rows) - tenth + 1, tenth):
        part = rows[start : start + tenth]
        means = [sum(row[f"{kind}_mib"] for row in part) / len(part) for kind in ("resident", "private", "between")]
        print(f"| {start + 1} to {start + len(part)} | " + " | ".join(f"{mean:.0f}" for mean in means) + " |")
    for kind, modules in FLOORS.items():
        print(f"\n| {kind} | private, MiB | resident, MiB |\n| --- | --- | --- |", *floor(modules), sep="\n")
        if kind == "driver":
            print("| as the search begins | {:.0f} | {:.0f} |".format(*driver))
    print(f"\nprocesses that ran them: {len({row['pid'] for row in rows})}")
    for row in (rows[i * (len(rows) - 1) // (SAMPLES - 1)] for i in range(SAMPLES)):
        again = alone(row["job"], options.out)
        same = (held_out_loss(again), again.scores.quality) == (row["held_out_loss"], row["quality"])
        print(f"trial {row['trial']} in a fresh process: {'the same bits' if same else f'DIFFERS: {again}'}")


if __name__ == "__main__":
    main()
