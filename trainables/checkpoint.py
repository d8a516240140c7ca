"""The checkpoint of a running trial: one safetensors file, whole or not at all, from which it goes on bit for bit.

It holds the student, the learned projections and both Adam moments; no pickle, so that reading one runs no code.
"""

import json
import logging
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spaces.errors import TrialFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a trial has come, and the losses that its outcome and its divergence check depend on."""

    step: int = 0
    elapsed_s: float = 0.0
    first: float = math.nan
    lowest: float = math.inf
    last: float = math.nan


def save_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the file under a temporary name and put it in place of the last one."""
    tensors = {f"module.{name}": value.detach().contiguous() for name, value in module.named_parameters()}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    save_file(tensors, unfinished, metadata={"progress": json.dumps(asdict(progress))})
    os.replace(unfinished, path)


def load_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a checkpoint back. One that cannot be read is set aside, and the trial starts over."""
    try:
        progress, tensors = read_checkpoint(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        os.replace(path, path.with_name(f"{path.name}.unreadable"))
        log.warning("checkpoint %s could not be read (%s); the trial starts over", path, error)
        return Progress()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(tensors[f"module.{name}"])
            state = {
                key.split(".")[1]: value.to(parameter.device) for key, value in tensors.items()
                if key.startswith("optimizer.") and key.split(".", 2)[2] == name
            }  # fmt: skip
            if state:
                optimizer.state[parameter] = state
    return progress


def read_checkpoint(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    """Everything that a checkpoint holds."""
    with safe_open(path, framework="pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
        return progress, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping


def resume(
    path: Path | None, module: nn.Module, optimizer: torch.optim.Optimizer, rank: int = 0, world_size: int = 1
) -> Progress:
    """Where to go on. Raises TrialFailed, on every worker, when the workers do not see the same checkpoint."""
    if path is None:
        return Progress()
    if world_size == 1:
        return load_checkpoint(path, module, optimizer) if path.is_file() else Progress()
    progress = Progress()
    for turn in range(world_size):  # one after the other, for an unreadable file may be set aside only once
        if turn == rank and path.is_file():
            progress = load_checkpoint(path, module, optimizer)
        dist.barrier()
    steps = torch.tensor([progress.step, -progress.step], device=next(module.parameters()).device)
    dist.all_reduce(steps, op=dist.ReduceOp.MIN)
    if steps[0] != -steps[1]:
        raise TrialFailed(f"the workers do not see the same checkpoint {path}: its folder must be shared by all nodes")
    return progress
