"""Writing the teacher targets of a study: by the driver, or shard by shard by the workers of the cluster."""

import time
from collections.abc import Sequence

from search.phases.encoders import write_shard_there
from search.phases.inputs import as_nodes_read
from search.spec.sections import StudySpec
from search.tune.calls import on_workers
from spaces.errors import StillhouseError
from spaces.telling import Say, announced
from trainables.copies import is_home
from trainables.machine import pinned_threads
from trainables.models.teacher import Teacher
from trainables.training.target_shards import build_shard, unfinished_shards, write_plan
from trainables.training.targets import Part, TargetPlan, shard_path

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
    """The rounding error of each shard."""
    own = as_nodes_read(spec)
    calls = [(own, plan, *shard) for shard in missing]
    done = on_workers(write_shard_there, calls, spec.cluster, "the teacher's targets could not be written")
    errors = [next(done) for _ in announced(missing, SHARDS, say)]
    written = [shard_path(plan.folder, *shard) for shard in plan.shards()]
    if not all(path.is_file() or is_home(path) for path in written):
        raise StillhouseError(
            f"the workers wrote the teacher's targets elsewhere than {plan.folder}: STILLHOUSE_CACHE must be the same "
            "shared folder on all nodes, or the URI of an object store; or set [targets] mode = 'live'"
        )
    return errors
