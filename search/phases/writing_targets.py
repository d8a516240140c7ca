"""Writing the teacher targets of a study: by the driver, or shard by shard on the nodes of the cluster, which may go.

A shard whose node is lost is written by another one, however often that happens, and nodes that join take shards.
"""

import time
from collections import Counter
from collections.abc import Sequence

import ray
import torch

from search.spec.sections import StudySpec
from spaces.errors import StillhouseError
from spaces.telling import Say, announced
from trainables.copies import is_home
from trainables.lanes.kept import kept_teacher
from trainables.machine import pinned_threads
from trainables.models.teacher import Teacher
from trainables.training.target_shards import build_shard, unfinished_shards, write_plan
from trainables.training.targets import Part, TargetPlan, shard_path

BUILD_ATTEMPTS = 2
"""How often the process that writes a shard may be begun, when it crashes."""
CRASHED = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
"""What may be the fault of a shard, unlike the end of a node."""
SHARDS = "teacher targets: {} shards"


def build(spec: StudySpec, plan: TargetPlan, say: Say, here: Teacher | None = None) -> None:
    """Write what is missing, with the teacher that is at hand or by workers."""
    missing, started = unfinished_shards(plan), time.time()
    if here is None:
        errors = build_by_workers(spec, plan, missing, say)
    else:
        with pinned_threads(spec.cluster.cpus_per_worker):
            errors = [build_shard(plan, *shard, here) for shard in announced(missing, SHARDS, say)]
    write_plan(plan)
    worst = f", relative rounding error {max(errors):.2g} (RMS)" if errors else ""
    say(f"teacher targets: {len(missing)} shards written in {time.time() - started:.0f} s{worst}")


def build_by_workers(spec: StudySpec, plan: TargetPlan, missing: Sequence[tuple[Part, int]], say: Say) -> list[float]:
    """The rounding error of each shard. One whose process died is tried once more; whose node died, always."""
    options = {"num_cpus": spec.cluster.cpus_per_worker, "num_gpus": spec.cluster.gpus_per_worker}
    write = ray.remote(max_retries=0, **options)(write_shard)  # type: ignore[call-overload]

    def begin(shard: tuple[Part, int]) -> ray.ObjectRef:
        return write.remote(plan, *shard, spec.cluster.cpus_per_worker, spec.cluster.device)

    waiting, crashes = {begin(shard): shard for shard in missing}, Counter[tuple[Part, int]]()
    errors: list[float] = []
    for _ in announced(missing, SHARDS, say):
        while True:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            shard = waiting.pop(done)
            try:
                errors.append(ray.get(done))
                break
            except ray.exceptions.RayError as error:
                crashes[shard] += isinstance(error, CRASHED)
                if not isinstance(error, (ray.exceptions.NodeDiedError, *CRASHED)) or crashes[shard] == BUILD_ATTEMPTS:
                    raise StillhouseError(f"the teacher's targets could not be written: {reason(error)}") from error
            waiting[begin(shard)] = shard
    written = [shard_path(plan.folder, *shard) for shard in plan.shards()]
    if not all(path.is_file() or is_home(path) for path in written):
        raise StillhouseError(
            f"the workers wrote the teacher's targets elsewhere than {plan.folder}: STILLHOUSE_CACHE must be the same "
            "shared folder on all nodes, or the URI of an object store; or set [targets] mode = 'live'"
        )
    return errors


def write_shard(plan: TargetPlan, part: Part, number: int, threads: int, device: str) -> float:
    """The task of one Ray worker."""
    torch.set_num_threads(max(1, threads))
    return build_shard(plan, part, number, kept_teacher(plan.teacher, plan.embedding, device))


def reason(error: Exception) -> str:
    """What a person needs of a remote error."""
    cause = getattr(error, "cause", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
