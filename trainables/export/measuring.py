"""What a student costs: parameters, FLOPs, latency, memory and disk, and the machine they were measured on.

Latency is the time of one forward pass of the encoder (no head) over random tokens, full sequences or texts as long as
those of the tasks, after warm-up, with the thread count pinned. It is taken in rounds, and again where they disagree or
threads waited for a core; what it still moves by stands beside it. Peak memory is the encoder's weights plus the most
bytes of tensors alive at once during a pass over full sequences: on CUDA what the allocator reports, elsewhere counted
op by op. It leaves out the interpreter, the libraries and any scratch space inside a kernel, so it does not depend on
what the process did before, as its resident set would.

Shapes: B batch, T tokens.
"""

import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from spaces.records.costs import COSTS, DISK, LATENCY, Subject, known_costs
from spaces.records.deploy import DeploySpec
from spaces.records.latency import LatencySpec, PassSpec
from spaces.records.runtimes import FILE_RUNTIMES, FLOAT_PRECISION, RUNTIMES, TORCH, need_runtime, opener
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from trainables.export.artefact import file_of
from trainables.export.graphs import export_onnx, reads_types
from trainables.export.inputs import Batches, batches_of, by_turns, inputs_of
from trainables.export.quantising import FEWEST_TEXTS, quantiser_of
from trainables.export.timing import Latency, time_passes, works_alone
from trainables.machine import hardware, pinned_threads
from trainables.models.file_encoder import EMBEDDING
from trainables.models.loading import quiet_transformers
from trainables.models.sessions import Session

MIB = 2**20


def measure(
    model: PreTrainedModel,
    architecture: StudentArchitecture,
    teacher: TeacherFacts,
    latency: LatencySpec,
    deploy: DeploySpec = DeploySpec(),  # noqa: B008
    lengths: Sequence[int] = (),
) -> dict[str, Any]:
    """The cost columns of one student, and `hardware`. Model, device and thread count are left as they were.

    lengths: of the texts that are timed; none: full sequences.
    """
    found: dict[str, Any] = known_costs(architecture, teacher, latency)
    with subject_of(model, architecture, teacher, latency, deploy, lengths) as subject:
        for cost in COSTS.values():
            if cost.measured is not None and deploy.runtime in cost.runtimes:
                found |= cost.measure(subject)
    return {**found, "hardware": hardware(latency.device)}


@contextmanager
def subject_of(
    model: PreTrainedModel,
    architecture: StudentArchitecture,
    teacher: TeacherFacts,
    latency: LatencySpec,
    deploy: DeploySpec = DeploySpec(),  # noqa: B008
    lengths: Sequence[int] = (),
) -> Iterator[Subject]:
    """A student as costs see it."""
    batches = batches_of(latency, lengths)
    with (
        prepared(model, latency.device) as encoder,
        pinned_threads(latency.threads),
        ExitStack() as scratch,
    ):

        @cache
        def folder() -> Path:
            path = Path(scratch.enter_context(tempfile.TemporaryDirectory()))
            with quiet_transformers():
                model.save_pretrained(path)
            return path

        def in_torch(batches: Batches) -> Callable[[], object]:
            return by_turns([partial(run, encoder, each, latency.device) for each in inputs_of(model, batches)])

        subject = Subject(
            architecture, teacher, latency, encoder, in_torch(batches), folder, deploy, lengths=tuple(lengths),
            passes=in_torch,
        )  # fmt: skip
        if deploy.is_file:
            files = scratch.enter_context(files_of(model, latency, deploy.runtime, deploy.first))
            by_precision = {
                name: replace(subject, forward=passes(batches), file=file, passes=passes)
                for name, (passes, file) in files.items()
            }
            subject = by_precision[deploy.first]
            if deploy.first != FLOAT_PRECISION:
                subject = replace(subject, unrounded=by_precision[FLOAT_PRECISION])
        yield subject


def latency_columns(subject: Subject) -> dict[str, float | None]:
    """The time of forward passes (`time_passes`)."""
    alone = works_alone(subject.latency.threads, subject.latency.device)
    found, before = (
        None if each is None else time_passes(each.forward, alone=alone, turns=each.turns)
        for each in (subject, subject.unrounded)
    )
    assert found is not None, "the subject itself is there"
    return {**found.columns, LATENCY.unrounded: None if before is None else before.p50_ms}


def disk_columns(subject: Subject) -> dict[str, float | None]:
    """The size of the file."""
    own, before = (
        None if each is None or each.file is None else RUNTIMES[each.deploy.runtime].size_mb(each.file)
        for each in (subject, subject.unrounded)
    )
    return {DISK.column: own, DISK.unrounded: before}


def peak_memory_columns(subject: Subject) -> dict[str, float]:
    """Weights and the largest set of activations alive at once (see the top of the file)."""
    setting = subject.latency
    peak_mib = measure_peak_memory(
        subject.model, batch_size=setting.batch_size, sequence_length=setting.sequence_length, device=setting.device
    )
    return {"peak_memory_mib": peak_mib}


def measure_latency(
    model: PreTrainedModel, *, batch_size: int, sequence_length: int, threads: int, device: str = "cpu"
) -> Latency:
    """Time forward passes of the encoder (`time_passes`)."""
    with prepared(model, device) as encoder, pinned_threads(threads):
        (inputs,) = inputs_of(model, [[sequence_length] * batch_size])
        return time_passes(lambda: run(encoder, inputs, device), alone=works_alone(threads, device))


def measure_file_latency(
    runtime: str,
    model: PreTrainedModel,
    *,
    batch_size: int,
    sequence_length: int,
    threads: int,
    device: str = "cpu",
    precision: str = FLOAT_PRECISION,
) -> Latency:
    """The same by another runtime, on the file of the encoder in a precision (`files_of`)."""
    setting = PassSpec(device, threads, batch_size, sequence_length)
    with files_of(model, setting, runtime, precision) as files:
        passes, file = files[precision]
        forward = passes(batches_of(setting))
        size_mb = RUNTIMES[runtime].size_mb(file)
        return replace(time_passes(forward, alone=works_alone(threads, device)), disk_mb=size_mb)


@contextmanager
def files_of(
    model: PreTrainedModel, setting: PassSpec, runtime: str, precision: str
) -> Iterator[dict[str, tuple[Callable[[Batches], Callable[[], object]], Path]]]:
    """By precision, forward passes by a runtime to the embedding, and the file that it runs: in float, and as asked.

    The scales of static int8 come from the random tokens that are timed: they move embeddings, and no time. So does the
    choice of the maps that int8+4 leaves in float, on a student that may not be trained yet: one of these may be larger
    or smaller than one of the trained student's, and size and time with it.

    Raises StillhouseError when a package is missing or the runtime does not know the device.
    """
    need_runtime(runtime, setting.device)
    with tempfile.TemporaryDirectory() as scratch:
        graph = export_onnx(model, Path(scratch) / "float.onnx")
        with_types = reads_types(model)

        def feeds_of(batches: Batches) -> list[dict[str, np.ndarray]]:
            feeds = [
                {name: tensor.cpu().numpy() for name, tensor in each.items()} for each in inputs_of(model, batches)
            ]
            return (
                [each | {"token_type_ids": np.zeros_like(each["input_ids"])} for each in feeds] if with_types else feeds
            )

        graphs = {FLOAT_PRECISION: graph}
        if (quantise := quantiser_of(precision)) is not None:
            graphs[precision] = Path(scratch) / "quantised.onnx"
            calibration = feeds_of([[setting.sequence_length]])
            quantise(graph, graphs[precision], calibration * FEWEST_TEXTS)
        files = {
            name: file_of(each, Path(scratch) / name / RUNTIMES[runtime].file(name), runtime)
            for name, each in graphs.items()
        }
        sessions: dict[str, Session] = {
            name: opener(runtime)(file, setting.threads, setting.device) for name, file in files.items()
        }

        def passes(session: Session, batches: Batches) -> Callable[[], object]:
            return by_turns([partial(session.run, [EMBEDDING], each) for each in feeds_of(batches)])

        yield {name: (partial(passes, session), files[name]) for name, session in sessions.items()}


LATENCIES: dict[str, Callable[..., Latency]] = {
    TORCH: measure_latency,
    **{name: partial(measure_file_latency, name) for name in FILE_RUNTIMES},
}
"""How latency is measured, by runtime."""


def measure_peak_memory(model: PreTrainedModel, *, batch_size: int, sequence_length: int, device: str = "cpu") -> float:
    """Weights, buffers and the largest set of activations alive at once, in MiB (see the top of the file)."""
    with prepared(model, device) as encoder:
        (inputs,) = inputs_of(model, [[sequence_length] * batch_size])
        own = {tensor.untyped_storage().data_ptr(): tensor for tensor in (*encoder.parameters(), *encoder.buffers())}
        weight_bytes = sum(tensor.untyped_storage().nbytes() for tensor in own.values())
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            run(encoder, inputs, device)
            return (weight_bytes + torch.cuda.max_memory_allocated(device) - before) / MIB
        known = set(own) | {tensor.untyped_storage().data_ptr() for tensor in inputs.values()}
        with LiveBytes(known) as live:
            run(encoder, inputs, device)
        return (weight_bytes + live.peak) / MIB


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations create, from their first tensor until their last one goes."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known = known
        self.tensors: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note what it returned."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key, size = storage.data_ptr(), storage.nbytes()
                if key in self.known:
                    continue
                self.tensors[key] = self.tensors.get(key, 0) + 1
                if self.tensors[key] == 1:
                    self.now += size
                    self.peak = max(self.peak, self.now)
                weakref.finalize(tensor, self.release, key, size)
        return out

    def release(self, key: int, size: int) -> None:
        """One tensor of a storage is gone."""
        self.tensors[key] -= 1
        if self.tensors[key] == 0:
            del self.tensors[key]
            self.now -= size


@contextmanager
def prepared(model: PreTrainedModel, device: str) -> Iterator[nn.Module]:
    """The encoder in evaluation mode on `device`; put back as it was afterwards."""
    module: nn.Module = model
    home, was_training = model.device, model.training
    module.to(device).eval()
    try:
        with torch.inference_mode():
            yield model.base_model
    finally:
        module.to(home).train(was_training)


def run(encoder: nn.Module, inputs: dict[str, Tensor], device: str) -> None:
    """One forward pass, finished when this returns."""
    encoder(**inputs)
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
