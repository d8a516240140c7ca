"""Cheap trial functions, importable by Ray workers, that stand in for distillation."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import ray
import torch
import torch.distributed as dist

import spaces.errors
from spaces.errors import StillhouseError, TrialFailed
from trainables.cache import new_file
from trainables.copies import shared_file
from trainables.lanes.messages import TrialOutcome
from trainables.lanes.notice import given
from trainables.tasks.scores import Scores, StudentScore
from trainables.text.in_parts import tokenise_part
from trainables.training.loop import Leaving
from trainables.training.reports import Trained, TrialReport
from trainables.training.targets import shard_path

CODE = spaces.errors.__file__
"""Where this process has our packages from."""


def run(asktell, one, most=10_000):
    """(trial, configuration, status) of each ask, one at a time; `one` trains a trial on and returns its row."""
    asked = []
    while len(asked) < most and (ask := asktell.ask()) is not None:
        asked.append((ask.trial, ask.config, one(asktell, ask).status))
    return asked


def scored(quality, task="toy"):
    """The scores of a student on one task."""
    return Scores(quality, {task: StudentScore(quality, quality, 1, "accuracy", "probe")})


def said(step, quality=None, *, train_tokens=0, loss=1.0, learning_rate=1e-3, elapsed_s=1.0):
    """A report; at a rung it has a quality."""
    scores = None if quality is None else scored(quality)
    return TrialReport(step, train_tokens, loss, learning_rate, 1.0, 1e4, elapsed_s, scores)


def outcome(quality=None, reason="", **columns):
    """What came of a trial; `columns` are further ones of its row."""
    return TrialOutcome(scores=None if quality is None else Scores(quality, {}), costs=columns, reason=reason)


def act(job, report, rank, world_size):
    """Does what job.config["act"] says, after a collective when there is somebody to meet."""
    name = job.config["act"]
    marker = Path(job.folder)
    drawn = torch.rand(1).item()
    ranks = torch.ones(1)
    if world_size > 1:
        dist.all_reduce(ranks)
    report(said(1, loss=2.0))
    if name == "raise":
        raise ValueError("boom")
    if name == "raise_rank_1" and rank == 1:
        raise ValueError("boom on rank 1")
    if name == "diverge":
        raise TrialFailed("loss is not finite at step 7")
    if name == "memory":
        raise MemoryError
    if name == "killed_once" and not marker.exists():
        marker.write_text("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "hang_then_die":
        if marker.exists():
            os._exit(3)
        marker.write_text("hangs")
        time.sleep(3600)
    if name == "slow":
        time.sleep(job.config["slow_s"])
    if world_size > 1:
        dist.all_reduce(torch.ones(1))
    report(said(2))
    if name == "stopped":
        report(said(3, 0.1))
        marker.write_text("went on")
    return outcome(0.5, drawn=drawn, ranks=int(ranks), pid=os.getpid(), threads=torch.get_num_threads())


def study_trial(job, report, rank, world_size):
    """A trial of three steps whose quality is a formula of its configuration; its orders stand in place of a teacher.

    It keeps a checkpoint where the study is on a disk, as real trials do, and writes down that it began, at which step.
    Where its orders name a gate, it waits after its first checkpoint until the test makes this file.
    """
    config, orders = job.config, json.loads(job.teacher)
    checkpoint = None if "://" in job.folder else Path(job.folder) / "step"
    begun = int(checkpoint.read_text()) if checkpoint and checkpoint.exists() else 0
    with open(orders["journal"], "a") as journal:
        entry = {"trial": job.trial, "step": begun, "pid": os.getpid(), "node": os.getppid(), "code": CODE}
        journal.write(json.dumps(entry) + "\n")
    if config["hidden_size"] == orders.get("filling_width"):
        ray.put(np.zeros(400_000_000, np.uint8))
    for step in range(max(1, begun), 4):
        time.sleep(orders.get("step_s", 0.0))
        tokens = 100_000 * step
        early = formula(config) * step / 3 if tokens in job.rungs else None
        if checkpoint:
            keep(checkpoint, step)
        while not begun and "gate" in orders and not Path(orders["gate"]).exists():
            time.sleep(0.02)
        if not begun and orders.get("kills_lane") == job.trial:
            kill_lane()
        if orders.get("ends_driver") == [job.trial, step]:
            os.kill(orders["driver"], signal.SIGTERM)
        report(said(step, early, train_tokens=tokens, loss=1.0 / step, elapsed_s=0.1 * step))
    if config["hidden_size"] == orders.get("failing_width"):
        raise ValueError("this width does not work")
    quality = float("nan") if config["hidden_size"] == orders.get("nan_width") else formula(config)
    trained = Trained(1.0, 0.3, 3, 300_000, 0.3, None, 0.4, "live")
    return TrialOutcome(trained, scored(quality))


def keep(checkpoint, step):
    """Whole or not at all."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_name(f"step.{os.getpid()}")
    unfinished.write_text(str(step))
    unfinished.replace(checkpoint)


def kill_lane():
    """SIGKILL for the lane of this worker's node, a child of the same raylet; the worker goes with it."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getppid() and (entry / "cmdline").read_bytes().startswith(b"ray::ResourceTrainable"):
                os.kill(int(entry.name), signal.SIGKILL)
    time.sleep(3600)


def write_elsewhere(spec, plan, part, number):
    """A task that writes a shard, but not where the driver looks for it."""
    return 0.0


def after(wait_s, name):
    """A call that takes a while."""
    time.sleep(wait_s)
    return name, os.getpid(), torch.get_num_threads()


def half(number):
    """A call that refuses odd numbers."""
    if number % 2 if isinstance(number, int) else number / 2:
        raise StillhouseError(f"{number} is no even number; {number + 1} is")
    return number // 2


def dies_at_first(counter, times):
    """A call whose process is killed so many times; which attempt came through."""
    with open(counter, "a+") as file:
        file.write("x")
        file.flush()
        attempt = file.tell()
    if attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt


def formula(config):
    """Larger students are better, with a peak in the learning rate."""
    size = config["num_layers"] * config["hidden_size"]
    return size / (size + 500) - 0.1 * abs(config["learning_rate"] / 1e-3 - 1)


def leaving_trial(job, report, rank, world_size):
    """A trial of a hundred short steps that keeps a checkpoint only when it is told to leave, and notes each start."""
    orders, checkpoint = json.loads(job.teacher), Path(job.folder) / "step"
    begun = int(checkpoint.read_text()) if checkpoint.exists() else 0
    note = {"trial": job.trial, "begun": begun, "home": os.environ["HOME"]}
    with open(orders["journal"], "a") as journal:
        journal.write(json.dumps(note) + "\n")
    for step in range(begun, 100):
        if given.is_set():
            keep(checkpoint, step)
            with open(orders["journal"], "a") as journal:
                journal.write(json.dumps({"trial": job.trial, "left": step, "home": os.environ["HOME"]}) + "\n")
            raise Leaving(f"after step {step}")
        time.sleep(orders["step_s"])
        if not step % 10:
            report(said(step, train_tokens=3_000 * step))
    return TrialOutcome(Trained(1.0, 0.3, 100, 300_000, 0.3, None, 0.4, "live"), scored(formula(job.config)))


def write_slowly(spec, plan, part, number):
    """A task that writes a shard in a second, and notes that it began; the first one waits until two nodes are lost."""
    path, shard = shard_path(plan.folder, part, number), f"{part.name}/{number}"
    time.sleep(3600 if noted(shard) < 2 and shard == "train-plain/0" else 1)
    with new_file(path) as unfinished:
        unfinished.write_bytes(b"states")
    shared_file(path)
    return 0.0


def noted(shard):
    """Note that a shard is begun on this node; how often it has been begun before."""
    journal = Path(os.environ["STILLHOUSE_TEST_JOURNAL"])
    begun = journal.read_text().count(f"{shard} ") if journal.exists() else 0
    with journal.open("a") as notes:
        notes.write(f"{shard} {os.environ['HOME']}\n")
    return begun


def tokenise_slowly(corpus, *arguments):
    """A part of the work on a corpus; one shard waits until its node is lost."""
    shard = f"{corpus}/{arguments[-1]}"
    time.sleep(3600 if not noted(shard) and shard == "all/3" else 0.1)
    return tokenise_part(*arguments)
