"""Rules on `[deploy]`: what no runtime here does is refused, with what comes nearest; as in rules.py."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from spaces.records.costs import COSTS, MEMORY, THROUGHPUT
from spaces.records.deploy import ARTEFACT, ONNX, STUDENT, DeploySpec
from spaces.records.objectives import named_objectives
from trainables.tasks.spec import FINETUNE

PACKAGES = {ONNX: ("onnx", "onnxscript", "onnxruntime")}
"""That a runtime needs; its name is that of the extra."""


def deploy_of(spec: Any) -> DeploySpec:
    """The section of a draft, as far as rules need it."""
    return DeploySpec(spec.deploy.runtime, spec.deploy.precision, quality_of=spec.deploy.quality_of)


def precision_of_runtime(spec: Any) -> Iterator[str]:
    deploy = deploy_of(spec)
    if deploy.is_rounded and not deploy.is_file:
        wanted = ", ".join(map(repr, deploy.precisions))
        yield f"[deploy] precision {wanted} is of a file for onnxruntime: set runtime = 'onnx'"


def several_precisions(spec: Any) -> Iterator[str]:
    deploy = deploy_of(spec)
    if len(deploy.precisions) == 1 or not deploy.is_file:
        return
    if not deploy.is_scored:
        yield (
            f"[deploy] precision names {len(deploy.precisions)}, but quality_of = {STUDENT!r} scores none of them, so "
            f"that the smallest would always win: name one, or set quality_of = {ARTEFACT!r}"
        )
    if spec.comparison.seeds is not None:
        yield "[deploy] precision names several: a comparison has one row for each of its trials, so name one"


def installed_runtime(spec: Any) -> Iterator[str]:
    for package in PACKAGES.get(spec.deploy.runtime, ()):
        if find_spec(package) is None:
            rule = f"[deploy] runtime {spec.deploy.runtime!r} needs the package {package}"
            yield f"{rule}: pip install 'stillhouse[{spec.deploy.runtime}]'"


def file_to_score(spec: Any) -> Iterator[str]:
    if deploy_of(spec).is_scored and spec.evaluation.protocol == FINETUNE:
        yield (
            f"[deploy] runtime {spec.deploy.runtime!r} with [evaluation] protocol 'finetune': fine-tuning trains in "
            f"torch, where there is no file to score: set quality_of = {STUDENT!r}, or protocol = 'probe'"
        )


def costs_of_runtime(spec: Any) -> Iterator[str]:
    runtime, known = spec.deploy.runtime, named_objectives()
    there = [name for name, cost in COSTS.items() if cost.measured is not None and runtime in cost.runtimes]
    for name in dict.fromkeys([*spec.search.objectives, *spec.search.constraints]):
        own = getattr(known.get(name), "runtimes", (runtime,))
        if runtime not in own:
            yield (
                f"[search] {name!r} is measured under [deploy] runtime = {own[0]!r} only, here it is {runtime!r}: take "
                f"one of {', '.join(there)}, or parameters, or that runtime"
            )


def batch_of_throughput(spec: Any) -> Iterator[str]:
    named = {*spec.search.objectives, *spec.search.constraints}
    if THROUGHPUT.name in named and spec.latency.throughput_batch is None:
        yield (
            f"[search] {THROUGHPUT.name!r} is measured where [latency] throughput_batch says how many texts at a time: "
            "set it, to 32 for example"
        )


def process_of_memory(spec: Any) -> Iterator[str]:
    named = {*spec.search.objectives, *spec.search.constraints}
    if MEMORY.name in named and not spec.latency.memory:
        yield (
            f"[search] {MEMORY.name!r} is measured in a process of its own, where [latency] asks for it: "
            "set memory = true"
        )
    if spec.latency.memory and spec.latency.device != "cpu":
        yield (
            f"[latency] memory = true is the memory of a process on the CPU, device is {spec.latency.device!r}: set "
            "device = 'cpu', or leave memory out"
        )


def device_of_runtime(spec: Any) -> Iterator[str]:
    if spec.deploy.runtime != ONNX or spec.latency.device != "cuda" or find_spec("onnxruntime") is None:
        return
    from onnxruntime import get_available_providers

    if "CUDAExecutionProvider" not in get_available_providers():
        yield (
            "[latency] device 'cuda' with [deploy] runtime 'onnx' needs an onnxruntime with CUDAExecutionProvider, "
            f"this one has {', '.join(get_available_providers())}: set device = 'cpu'"
        )


DEPLOY_RULES = (
    precision_of_runtime,
    several_precisions,
    installed_runtime,
    file_to_score,
    costs_of_runtime,
    batch_of_throughput,
    process_of_memory,
    device_of_runtime,
)
"""Rules on (spec)."""
