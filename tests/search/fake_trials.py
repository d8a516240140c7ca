"""Cheap trial functions, importable by Ray workers, that stand in for distillation."""

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from spaces.errors import TrialFailed


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
    if name == "die_once" and not marker.exists():
        marker.write_text("died")
        os._exit(3)
    if name == "hang":
        while True:
            time.sleep(60)
    if name == "slow":
        time.sleep(job["slow_s"])
    if name == "die":
        os._exit(3)
    if world_size > 1:
        dist.all_reduce(torch.ones(1))
    report({"step": 2, "loss": 1.0})
    if name == "stopped":
        report({"step": 3, "quality": 0.1, "pid": os.getpid()})
        marker.write_text("went on")
    return {"quality": 0.5, "drawn": drawn, "ranks": int(ranks), "pid": os.getpid(), "threads": torch.get_num_threads()}


def study_trial(job, report, rank, world_size):
    """A trial whose quality is a formula of its configuration; writes down that it ran."""
    config = job["config"]
    if rank == 0:
        with open(Path(job["journal"]), "a") as journal:
            journal.write(f"{job['trial']}\n")
    for step in range(1, 4):
        time.sleep(job.get("step_s", 0.0))
        row = {"step": step, "train_tokens": 100_000 * step, "loss": 1.0 / step, "gradient_norm": 1.0,
               "learning_rate": config["learning_rate"], "tokens_per_s": 1e4, "elapsed_s": 0.1 * step}  # fmt: skip
        if 100_000 * step in job.get("rungs", ()):
            early = formula(config) * step / 3
            row |= {"quality": early, "score_toy": 0.5 + early / 2, "recovered_toy": early, "probe_layer_toy": 1}
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


def formula(config):
    """Larger students are better, with a peak in the learning rate."""
    size = config["num_layers"] * config["hidden_size"]
    return size / (size + 500) - 0.1 * abs(config["learning_rate"] / 1e-3 - 1)
