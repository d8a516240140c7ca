"""A study on a disk of 64 kB that runs full, and its resume: `full_disk.py FOLDER`, with mounts of its own."""

import subprocess
import sys
from pathlib import Path

import fake_trials
import toy

from search.store.parts import Store
from search.tune.searcher import FINISHED, StudySearcher
from search.tune.tuning import ask_tell, job_maker
from spaces.values import from_json, to_json
from trainables.lanes.messages import TrialJob
from trainables.lanes.worker import attempt


def finish(searcher):
    """Play Tune and one lane until the searcher has nothing more."""
    for turn in range(1000):
        if (suggestion := searcher.suggest(str(turn))) is FINISHED:
            return
        outcome = attempt(fake_trials.study_trial, from_json(TrialJob, suggestion["job"]), lambda report: None)
        searcher.on_trial_complete(str(turn), {"outcome": to_json(outcome)})
    raise AssertionError("the search does not end")


def drive(folder):
    plan = toy.plan(journal=f"{sys.argv[1]}/journal")
    asktell = ask_tell(plan, Store(folder, ["toy"]), print)
    searcher = StudySearcher(asktell, job_maker(plan, asktell.store, lambda trial: None), lambda row: None, lambda: 1)
    finish(searcher)
    return searcher, [(row.trial, row.config_hash, row.quality) for row in asktell.tally.rows]


disk = Path(sys.argv[1]) / "disk"
disk.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)


searcher, before = drive(disk / "study")
print("stopped:", searcher.fatal, flush=True)
rows = Store(disk / "study", ["toy"]).read_rows("trials")
assert 0 < len(before) < 8 and [row["trial"] for row in rows] == [trial for trial, *_ in before], before
assert not list(disk.glob("**/.*.tmp"))
subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
searcher, after = drive(disk / "study")
assert searcher.fatal is None and after[: len(before)] == before
assert after == drive(Path(sys.argv[1]) / "undisturbed")[1]
print("resumed:", len(after), "rows")
