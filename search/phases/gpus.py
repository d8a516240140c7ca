"""The GPUs of a study: what the spec says, else what the nodes have, shared by as many trials as fit.

A study that keeps to CPUs (`gpus_per_worker = 0`) asks no GPU for anything, not even whether it is there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray
import torch

from search.phases.inputs import Inputs, as_nodes_read
from search.spec.checks import Study
from search.spec.sections import StudySpec
from search.tune.calls import reason
from search.tune.cluster import alive, gpu_share
from spaces.errors import StillhouseError
from spaces.space.axes import axes_of_trial
from spaces.space.search_space import SearchSpace, assemble
from spaces.students.architecture import count_parameters
from spaces.telling import Say
from trainables.copies import shared
from trainables.lanes.kept import kept_corpus, kept_teacher
from trainables.lanes.settings import ClusterSpec
from trainables.models.student import build_student
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun

PROBE_STEPS = 2
"""The second has the optimiser's state beside the activations."""
CONTEXT_BYTES = 600_000_000
"""What a process holds on a GPU beside the tensors of torch, about."""
USED_SHARE = 0.85
"""Of the memory of a GPU, what trials are planned to take: scoring may need more than a step."""


def with_gpus(study: Study, inputs: Inputs, say: Say) -> ClusterSpec:
    """[cluster] with `gpus_per_worker` as a number, for the nodes that are there now."""
    wanted, nodes = study.spec.cluster, alive()
    if wanted.gpus_per_worker is not None:
        return wanted
    share = gpu_share(wanted, nodes)
    if 0 < share < 1:
        fit = trials_that_fit(*probe(study, shared(inputs.data.corpus)))
        if not fit:
            say("warning: the largest student of the space may not fit the memory of a GPU")
        share = gpu_share(wanted, nodes, max(1, fit))
    if share:
        count = sum(node.get("GPU", 0) for node in nodes)
        together = f"{1 // share:.0f} trials share one" if share < 1 else "one for each worker"
        say(f"GPUs: {count:g} in the cluster, {together} ([cluster] gpus_per_worker = {share:g}; 0: CPUs alone)")
    return replace(wanted, gpus_per_worker=share)


def trials_that_fit(peak_bytes: int, total_bytes: int) -> int:
    """How many trials fit on a GPU of so many bytes, by the peak of one."""
    return int(USED_SHARE * total_bytes / (peak_bytes + CONTEXT_BYTES))


def probe(study: Study, corpus: str) -> tuple[int, int]:
    """(peak of a step of the largest students, memory of the GPU) in bytes, measured by a worker that has one."""
    options = {"num_cpus": study.spec.cluster.cpus_per_worker, "num_gpus": 1, "max_calls": 1}
    measure: Any = ray.remote(**options)(peak_of_steps)  # type: ignore[call-overload]
    try:
        found: tuple[int, int] = ray.get(measure.remote(as_nodes_read(study.spec), list(largest(study.space)), corpus))
    except ray.exceptions.RayError as error:
        raise StillhouseError(
            f"a step on a GPU failed ({reason(error)}); set [cluster] gpus_per_worker, 0 for CPUs alone"
        ) from error
    return found


def peak_of_steps(spec: StudySpec, configs: Sequence[dict[str, Any]], corpus: str) -> tuple[int, int]:
    """The task of the worker."""
    torch.cuda.reset_peak_memory_stats()
    take_steps(spec, configs, corpus, "cuda")
    return torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory


def take_steps(spec: StudySpec, configs: Sequence[dict[str, Any]], corpus: str, device: str) -> None:
    """Train each configuration for PROBE_STEPS, the teacher beside it."""
    teacher = kept_teacher(spec.teacher.path, spec.embedding, device, spec.student.tokenizer)
    blocks = kept_corpus(corpus)
    for config in configs:
        student = build_student(config, teacher.source, spec.seed, blocks).to(teacher.model.device)  # type: ignore[arg-type]
        tokens = int(PROBE_STEPS * config["batch_size"] * blocks.tokens_per_row)
        distil(student, teacher, blocks, TrainingRun(config, tokens, spec.seed, spec.training), lambda report: None)


def largest(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """For each method the student with most parameters, in its largest batch."""
    for method, students in space.feasible.items():
        if not students:
            continue
        student = max(students, key=lambda each: count_parameters(each, space.teacher))
        values = {name: space.legal(name, student) or space.axes[name].ends for name in axes_of_trial(method)}
        drawn = {name: max(each) if name == "batch_size" else each[0] for name, each in values.items()}
        yield assemble(method, student, drawn)
