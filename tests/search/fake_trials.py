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
from spaces.errors import TrialFailed

CODE = spaces.errors.__file__
"""Where this process has our packages from."""


def act(job, report, rank, world_size):
    """Does what job["config"]["act"] says, after a collective when there is somebody to meet."""
    name = job["config"]["act"]
    marker = Path(job.get("folder", "."))
    drawn = torch.rand(1).item()
    ranks = torch.ones(1)
    if world_size > 1:
        dist.all_reduce(ranks)
    report({"step": 1, "loss": 2.0})
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
        time.sleep(job["slow_s"])
    if world_size > 1:
        dist.all_reduce(torch.ones(1))
    report({"step": 2, "loss": 1.0})
    if name == "stopped":
        report({"step": 3, "quality": 0.1, "pid": os.getpid()})
        marker.write_text("went on")
    return {"quality": 0.5, "drawn": drawn, "ranks": int(ranks), "pid": os.getpid(), "threads": torch.get_num_threads()}


def study_trial(job, report, rank, world_size):
    """A trial of three steps whose quality is a formula of its configuration.

    It keeps a checkpoint where the study is on a disk, as real trials do, and writes down that it began, at which step.
    """
    config, checkpoint = job["config"], None if "://" in job["folder"] else Path(job["folder"]) / "step"
    begun = int(checkpoint.read_text()) if checkpoint and checkpoint.exists() else 0
    with open(job["journal"], "a") as journal:
        entry = {"trial": job["trial"], "step": begun, "pid": os.getpid(), "node": os.getppid(), "code": CODE}
        journal.write(json.dumps(entry) + "\n")
    if config["hidden_size"] == job.get("filling_width"):
        ray.put(np.zeros(400_000_000, np.uint8))
    for step in range(max(1, begun), 4):
        time.sleep(job.get("step_s", 0.0))
        row = {"step": step, "train_tokens": 100_000 * step, "loss": 1.0 / step, "gradient_norm": 1.0,
               "learning_rate": config["learning_rate"], "tokens_per_s": 1e4, "elapsed_s": 0.1 * step}  # fmt: skip
        if 100_000 * step in job.get("rungs", ()):
            early = formula(config) * step / 3
            row |= {"quality": early, "score_toy": 0.5 + early / 2, "recovered_toy": early, "probe_layer_toy": 1}
        if checkpoint:
            keep(checkpoint, step)
        if not begun and job.get("kills_lane") == job["trial"]:
            kill_lane()
        report(row)
    if config["hidden_size"] == job.get("failing_width"):
        raise ValueError("this width does not work")
    quality = formula(config)
    if config["hidden_size"] == job.get("nan_width"):
        quality = float("nan")
    return {
        "quality": quality, "score_toy": 0.5 + quality / 2, "recovered_toy": quality, "probe_layer_toy": 1,
        "loss_first": 1.0, "loss_last": 0.3, "train_tokens": 300_000, "steps": 3, "train_s": 0.3,
    }  # fmt: skip


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


def write_elsewhere(plan, part, number, threads):
    """A task that writes a shard, but not where the driver looks for it."""
    return 0.0


def formula(config):
    """Larger students are better, with a peak in the learning rate."""
    size = config["num_layers"] * config["hidden_size"]
    return size / (size + 500) - 0.1 * abs(config["learning_rate"] / 1e-3 - 1)
