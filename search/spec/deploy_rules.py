"""Rules on `[deploy]`: what no runtime here does is refused, with what comes nearest; as in rules.py."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from spaces.records.costs import COSTS, MEMORY, THROUGHPUT
from spaces.records.deploy import ARTEFACT, STUDENT, DeploySpec
from spaces.records.objectives import named_objectives
from spaces.records.runtimes import ONNX, RUNTIMES, what_lacks, why_not
from trainables.tasks.spec import FINETUNE


def deploy_of(spec: Any) -> DeploySpec:
    """The section of a draft, as far as rules need it."""
    return DeploySpec(spec.deploy.runtime, spec.deploy.precision, quality_of=spec.deploy.quality_of)


def precision_of_runtime(spec: Any) -> Iterator[str]:
    deploy = deploy_of(spec)
    for precision in deploy.precisions:
        if why := why_not(deploy.runtime, precision, "runtime = {!r}"):
            yield f"[deploy] precision {why}"


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
    for line in what_lacks(spec.deploy.runtime):
        yield f"[deploy] {line}"


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
                f"[search] {name!r} is measured under [deploy] runtime = {' or '.join(map(repr, own))} only, here it "
                f"is {runtime!r}: take one of {', '.join(there)}, or parameters, or that runtime"
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
    runtime, device = spec.deploy.runtime, spec.latency.device
    if device not in (known := RUNTIMES[runtime].devices):
        yield (
            f"[latency] device {device!r} with [deploy] runtime {runtime!r}, which is measured on {', '.join(known)} "
            f"only: set device = {known[0]!r}"
        )
    if runtime != ONNX or device != "cuda" or find_spec("onnxruntime") is None:
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
