"""What every rank of a worker group does: wait for a trial, run it, hand over what came of it.

The other side, which Tune sees, is lane.py; the two meet at a mailbox (mailbox.py). A trial that raises is an outcome
with its reason, and the group stays warm. One code path for one worker and for many.
"""

import errno
import functools
import gc
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
import torch.distributed as dist
from ray import train

from spaces.errors import TrialFailed
from spaces.values import to_json
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.lanes.notice import listen
from trainables.lanes.settings import load_function
from trainables.machine import give_back_memory
from trainables.training.loop import Leaving
from trainables.training.reports import TrialReport

Report = Callable[[TrialReport], None]
TrialFunction = Callable[[TrialJob, Report, int, int], TrialOutcome]
"""(job, report, rank, world size) -> what came of it; what ranks other than 0 return says nothing."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Stopped(Exception):
    """Raised inside a trial, by its report, when nobody waits for its result any more."""


def attempt(
    function: TrialFunction, job: TrialJob, report: Report, rank: int = 0, world_size: int = 1
) -> TrialOutcome | None:
    """Run one trial; whatever it raises becomes the outcome's reason. None: nobody waits for it.

    Raises Leaving when the trial was told to.
    """
    random.seed(job.seed)
    np.random.seed(job.seed % 2**32)
    torch.manual_seed(job.seed)
    try:
        outcome = function(job, report, rank, world_size)
        to_json(outcome)  # what cannot be recorded is the trial's fault, and said here
        return outcome
    except Stopped:
        return None
    except Leaving:
        raise
    except TrialFailed as error:
        return TrialOutcome(reason=str(error))
    except Exception as error:
        return TrialOutcome(reason=reason_of(error), traceback=traceback.format_exc(), disk_full=is_disk_full(error))
    finally:
        gc.collect()
        torch.cuda.empty_cache()  # of a process that has used none it does nothing
        give_back_memory()


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
    """What every rank of a worker group does until it is sent away, or its node is to go: wait, run, hand over."""
    settings, mailbox = config["settings"], config["mailbox"]
    context = train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(max(1, int(settings.cluster.cpus_per_worker)))
    function: TrialFunction = load_function(settings.function)
    # As bytes: who unpickles the handle of a worker loads Ray Train, and the mailbox only keeps it.
    here = ray.get_runtime_context()
    ray.get(mailbox.join.remote(rank, ray.cloudpickle.dumps(here.current_actor), here.get_node_id()))
    listen(mailbox)
    while (delivery := ray.get(mailbox.next_job.remote(rank))) is not None:
        key, job = delivery
        report = functools.partial(_report, mailbox, key, rank, world_size)
        try:
            outcome = attempt(function, job, report, rank, world_size)
        except Leaving as leaving:
            if rank == 0:
                ray.get(mailbox.leave.remote(key, str(leaving)))
            return
        if outcome is None:
            continue
        if not ray.get(mailbox.finish.remote(key, rank, outcome)):
            raise RuntimeError(
                f"rank {rank} ended the trial and the others did not: {outcome.reason or 'no error here'}"
            )


def _report(mailbox: Any, key: str, rank: int, world_size: int, report: TrialReport) -> None:
    """Rank 0 reports, and waits at a rung; all ranks learn from it whether the trial goes on, so that none is alone."""
    wanted = True
    if rank == 0:
        wanted = ray.get(mailbox.report.remote(key, report))
    if world_size > 1:
        flag = torch.tensor([wanted], dtype=torch.int32, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.broadcast(flag, 0)
        wanted = bool(flag.item())
    if not wanted:
        raise Stopped
