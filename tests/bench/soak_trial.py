"""The trials of soak.py: they sleep, report, keep a checkpoint, leave when told, and read a copy from the cache.

As a script it writes what they read into the cache and sends it home; it prints how jobs name it.
"""

import hashlib
import json
import os
import random
import tempfile
import time
from pathlib import Path

from fake_trials import formula, said, scored

from search.store.parts import Store
from spaces.records.parts import read_dataset
from trainables.cache import cache_folder
from trainables.copies import at_hand, shared
from trainables.lanes.messages import TrialOutcome
from trainables.lanes.notice import given
from trainables.training.checkpoint import fetch, upload
from trainables.training.loop import Leaving

STEPS = 6
COPIES, COPY_BYTES = 24, 1_000_000


def trial(job, report, rank, world_size):
    """A trial that sleeps, reports, keeps a checkpoint and goes on from it."""
    orders = json.loads(job.teacher)

    def note(**facts):
        with open(orders["journal"], "a") as journal:
            journal.write(json.dumps({"trial": job.trial, "pid": os.getpid(), **facts}) + "\n")

    if copies := orders["copies"]:
        copy = at_hand(copies[job.trial % len(copies)])
        if hashlib.sha256((copy / "data").read_bytes()).hexdigest() != (copy / "sha256").read_text():
            raise ValueError(f"the copy {copy} is not what went home")
    with tempfile.TemporaryDirectory() as scratch:
        far = f"{job.folder}/step" if "://" in job.folder else ""
        checkpoint = Path(scratch if far else job.folder) / "step"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if far:
            fetch(far, checkpoint)
        quality, begun = formula(job.config), int(checkpoint.read_text()) if checkpoint.exists() else 0
        note(begun=begun, repeated=has_ended(orders["study"], job.trial))
        for step in range(1 + begun, STEPS + 1):
            time.sleep(random.Random(job.trial).uniform(0.8, 1.7))
            tokens = 300_000 * step // STEPS
            early = quality * step / STEPS if tokens in job.rungs else None
            temporary = checkpoint.with_name(f"step.{os.getpid()}")
            temporary.write_text(str(step))
            temporary.replace(checkpoint)
            if far:
                upload(checkpoint, far)
            report(said(step, early, train_tokens=tokens, loss=1.0 / step, elapsed_s=float(step)))
            if given.is_set():
                note(left=step)
                raise Leaving(f"after step {step}")
    return TrialOutcome(scores=scored(quality), costs={"train_tokens": 300_000, "steps": STEPS})


def has_ended(study, trial):
    """Whether there is a final row of a trial."""
    store = Store(study, ["toy"])
    rows = read_dataset(store.filesystem, store.path("trials"), store.columns["trials"], trials=[trial])
    return any(row["trial"] == trial and row["status"] != "stopped" for row in rows.to_pylist())


def write_copies():
    """Send folders of random bytes home, and print how jobs name them."""
    names = []
    for number in range(COPIES):
        data, folder = random.Random(number).randbytes(COPY_BYTES), cache_folder() / f"corpora/{number:04d}"
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(data)
        (folder / "sha256").write_text(hashlib.sha256(data).hexdigest())
        names.append(shared(folder))
    print(json.dumps(names))


if __name__ == "__main__":
    write_copies()
