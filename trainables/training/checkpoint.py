"""The checkpoint of a running trial: one safetensors file, whole or not at all, from which it goes on bit for bit.

It holds the student, the learned projections and both Adam moments; no pickle, so that reading one runs no code. The
weights of the best rung so far lie beside them, where the trial may hand that student over. The file carries the
identity of its trial, so that no other trial goes on from it. Where nodes share no disk, a copy of it goes to an object
store after each writing, and a node that lacks the file fetches that.
"""

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spaces.errors import TrialFailed
from spaces.records.filesystems import make_parent, open_filesystem
from spaces.values import from_json, to_json
from trainables.cache import new_file
from trainables.training.reports import TrialReport
from trainables.training.settings import ALONE, Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unsaid:
    """The sums since the last report, means over all workers: what the next report is made of."""

    loss: float = 0.0
    gradient_norm: float = 0.0
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Passed:
    """A rung that a trial has passed."""

    quality: float
    """On dev."""
    train_tokens: int
    stage: int = 0
    """Of its method."""


@dataclass(frozen=True)
class Progress:
    """How far a trial has come, and the losses that its outcome and its divergence check depend on."""

    step: int = 0
    elapsed_s: float = 0.0
    first: float = math.nan
    lowest: float = math.inf
    last: float = math.nan
    unknowing: float = 0.0
    """What the first batch of the stage would have cost a student that knew nothing of its texts."""
    report: TrialReport | None = None
    """What is said of this step. Nobody may have heard it, so whoever goes on from here says it again."""
    unsaid: Unsaid = field(default_factory=Unsaid)
    """Of the steps since the last report, where it was written between two."""
    best: Passed | None = None
    """The rung whose weights the file holds as well."""


@dataclass(frozen=True)
class CheckpointFile:
    """Where the checkpoint of a run is kept."""

    path: Path
    copy: str = ""
    """URI where nodes that do not share the disk of `path` find it; empty when all do."""


Weights = Mapping[str, Tensor]
"""Of a module, by the names of its parameters."""


def save_checkpoint(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    trial: str = "",
    best: Weights | None = None,
) -> None:
    """Write the file under a temporary name and put it in place of the last one. `trial` says whose it is.

    best: the weights at `progress.best`.
    """
    tensors = {f"module.{name}": value.detach().contiguous() for name, value in module.named_parameters()}
    tensors |= {f"best.{name}": value for name, value in (best or {}).items()}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value).contiguous()
    with new_file(path) as unfinished:
        save_file(tensors, unfinished, metadata={"progress": to_json(progress), "trial": trial})


def load_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, trial: str = "") -> Progress:
    """Put a checkpoint back. One that cannot be read, or is another trial's, is set aside: the trial starts over."""
    try:
        progress, tensors = read_checkpoint(path, trial)
        check_shapes(tensors, module)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        os.replace(path, path.with_name(f"{path.name}.unreadable"))
        log.warning("checkpoint %s cannot be used (%s); the trial starts over", path, error)
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


def read_checkpoint(path: Path, trial: str = "") -> tuple[Progress, dict[str, Tensor]]:
    """Everything that a checkpoint holds. Raises ValueError when it is another trial's."""
    progress = read_progress(path, trial)
    with safe_open(path, framework="pt") as file:
        return progress, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping


def read_progress(path: Path, trial: str = "") -> Progress:
    """The same without its weights."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    if metadata["trial"] != trial:
        raise ValueError(f"it is of trial {metadata['trial'][:16]!r}, not of {trial[:16]!r}")
    return from_json(Progress, metadata["progress"])


def copied_weights(module: nn.Module) -> Weights:
    """As they are now, in memory of their own."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in module.named_parameters()}


def best_weights(tensors: Weights) -> Weights:
    """Of what a checkpoint holds, the weights of its best rung."""
    return {name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")}


def check_shapes(tensors: Mapping[str, Tensor], module: nn.Module) -> None:
    """Raises ValueError for what does not fit, before any of it is put in place."""
    for name, parameter in module.named_parameters():
        if tensors[f"module.{name}"].shape != parameter.shape:
            raise ValueError(f"{name} is {tuple(tensors[f'module.{name}'].shape)}, not {tuple(parameter.shape)}")


def upload(path: Path, uri: str) -> None:
    """Copy the checkpoint to where other nodes find it. A store that does not answer costs that copy, not the trial."""
    filesystem, target = open_filesystem(uri)
    try:
        make_parent(filesystem, target)
        with pa.memory_map(str(path)) as file:
            whole = file.read_buffer()  # before the object is opened: an error here must not leave a part of one
        with filesystem.open_output_stream(target) as stream:
            stream.write(whole)
    except OSError as error:
        log.warning("checkpoint %s was not copied to %s: %s", path, uri, error)


def fetch(uri: str, path: Path) -> None:
    """Copy the checkpoint of an earlier run to this node, if there is one and it can be had."""
    filesystem, source = open_filesystem(uri)
    try:
        with filesystem.open_input_stream(source) as stream, new_file(path) as unfinished:
            unfinished.write_bytes(stream.read())
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("checkpoint %s could not be fetched (%s); the trial starts over", uri, error)


def resume(
    place: CheckpointFile | None,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    trial: str = "",
    worker: Worker = ALONE,
) -> Progress:
    """Where to go on. Raises TrialFailed, on every worker, when the workers do not see the same checkpoint."""
    if place is None:
        return Progress()
    path = place.path
    if place.copy and not path.is_file():
        fetch(place.copy, path)
    if worker.world_size == 1:
        return load_checkpoint(path, module, optimizer, trial) if path.is_file() else Progress()
    progress = Progress()
    for turn in range(worker.world_size):  # one after the other, for an unreadable file may be set aside only once
        if turn == worker.rank and path.is_file():
            progress = load_checkpoint(path, module, optimizer, trial)
        dist.barrier()
    steps = torch.tensor([progress.step, -progress.step], device=next(module.parameters()).device)
    dist.all_reduce(steps, op=dist.ReduceOp.MIN)
    if steps[0] != -steps[1]:
        raise TrialFailed(f"the workers do not see the same checkpoint {path}: its folder must be shared by all nodes")
    return progress
