"""What every rank of a worker group does: wait for a trial, run it, hand over what came of it.

The other side, which Tune sees, is lane.py; the two meet at a mailbox (mailbox.py). A trial that raises is an outcome
with its reason, and the group stays warm. One code path for one worker and for many.
"""

import errno
import functools
import gc
import importlib
import json
import random
import tempfile
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs
import ray
import torch
import torch.distributed as dist
from ray import train

from spaces.errors import TrialFailed
from spaces.records.filesystems import open_filesystem
from trainables.lanes.settings import LaneSettings

Report = Callable[[dict[str, Any]], None]
TrialFunction = Callable[[dict[str, Any], Report, int, int], dict[str, Any]]


NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Stopped(Exception):
    """Raised inside a trial, by its report, when nobody waits for its result any more."""


def distil(job: dict[str, Any], report: Report, rank: int, world_size: int) -> dict[str, Any]:
    """The trial function of a real study. Imports late: a lane with another function never loads transformers.

    A study on an object store gets its student, and each checkpoint, by upload.
    """
    from trainables.lanes.trial import CHECKPOINT, TrialJob, run_trial

    target = job["student_folder"]
    if "://" not in target:
        outcome = run_trial(TrialJob(**job), report, rank, world_size)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folders = {"folder": f"{scratch}/checkpoint", "student_folder": f"{scratch}/student"}
            folders["checkpoint_copy"] = f"{job['folder']}/{CHECKPOINT}"
            outcome = run_trial(TrialJob(**{**job, **folders}), report, rank, world_size)
            if rank == 0:
                filesystem, path = open_filesystem(target)
                filesystem.create_dir(path, recursive=True)
                pyarrow.fs.copy_files(folders["student_folder"], path, destination_filesystem=filesystem)
    return {**outcome, "student_path": f"students/{Path(target).name}"} if rank == 0 else {}


def load_function(reference: str) -> TrialFunction:
    """`package.module:name` -> the function."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def attempt(
    function: TrialFunction, job: dict[str, Any], report: Report, rank: int, world_size: int
) -> dict[str, Any] | None:
    """Run one trial; whatever it raises becomes `reason` (one line) and `traceback`. None: nobody waits for it.

    `disk_full` says that the reason is no fault of the trial's: the next one would meet it as well.
    """
    seed = int(job.get("seed", 0))
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        outcome = function(job, report, rank, world_size)
        return json.loads(json.dumps(outcome or {}, default=_plain))
    except Stopped:
        return None
    except TrialFailed as error:
        return {"reason": str(error)}
    except Exception as error:
        failed = {"reason": reason_of(error), "traceback": traceback.format_exc()}
        return failed | ({"disk_full": True} if is_disk_full(error) else {})
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def reason_of(error: BaseException) -> str:
    """One line for a person; the traceback goes to the log."""
    text = (str(error).strip().splitlines() or [""])[0][:200]
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return f"out of GPU memory: {text}"
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "not enough memory" in text:
        return f"out of memory: {text or 'no more could be allocated'}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"


def is_disk_full(error: BaseException) -> bool:
    """Safetensors says in words what others say by number."""
    code = getattr(error, "errno", None)
    return code in NO_SPACE or any(f"(os error {n})" in str(error) for n in NO_SPACE)


def serve(config: dict[str, Any]) -> None:
    """What every rank of a worker group does until it is sent away: wait, run, hand over."""
    settings, mailbox = config["settings"], config["mailbox"]
    context = train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(max(1, int(settings.cluster.cpus_per_worker)))
    function = load_function(settings.function)
    if settings.function == LaneSettings.function:
        importlib.import_module("trainables.lanes.trial")  # now, rather than in the first trial
    ray.get(mailbox.join.remote(rank, ray.get_runtime_context().current_actor))
    while (delivery := ray.get(mailbox.next_job.remote(rank))) is not None:
        key, job = delivery
        report = functools.partial(_report, mailbox, key, rank, world_size)
        outcome = attempt(function, job, report, rank, world_size)
        if outcome is None:
            continue
        if not ray.get(mailbox.finish.remote(key, rank, outcome)):
            raise RuntimeError(
                f"rank {rank} ended the trial and the others did not: {outcome.get('reason', 'no error here')}"
            )


def _report(mailbox: Any, key: str, rank: int, world_size: int, report: dict[str, Any]) -> None:
    """Rank 0 reports, and waits at a rung; all ranks learn from it whether the trial goes on, so that none is alone."""
    wanted = True
    if rank == 0:
        text, is_rung = json.dumps(report, default=_plain), report.get("quality") is not None
        wanted = ray.get(mailbox.report.remote(key, text, is_rung))
    if world_size > 1:
        flag = torch.tensor([wanted], dtype=torch.int32, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.broadcast(flag, 0)
        wanted = bool(flag.item())
    if not wanted:
        raise Stopped


def _plain(value: Any) -> Any:
    """NumPy and torch scalars, times and paths as JSON."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a trial returned {type(value).__name__}, which is no number, text or time")
