"""Work before the first trial and after the last: the driver does it, or the workers of the cluster where they end
sooner.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import torch

from search.phases.inputs import as_nodes_read
from search.spec.sections import StudySpec
from search.tune.calls import on_workers, with_start
from search.tune.cluster import workers
from trainables.machine import pinned_threads

Call = tuple[Any, ...]


def spread(
    spec: StudySpec,
    here: Callable[..., Any],
    there: Callable[..., Any],
    calls: Sequence[Call],
    alone_s: float,
    what: str,
) -> Iterator[Any]:
    """What each call returns, in their order: of here(*call), or on workers of there(spec, *call).

    alone_s: what all take one after the other, on one worker's cores. `what` is in the message when it cannot be done.
    """
    if sooner(spec, alone_s):
        own = as_nodes_read(spec)
        yield from on_workers(there, [(own, *call) for call in calls], spec.cluster, what)
        return
    with pinned_threads(max(1, spec.cluster.cpus_per_worker)):
        for call in calls:
            yield here(*call)


def sooner(spec: StudySpec, alone_s: float) -> bool:
    """Whether workers, which have to start first, end sooner than the driver; always where they alone have a GPU."""
    if not ray.is_initialized():
        return False
    if spec.cluster.gpus_per_worker and not torch.cuda.is_available():
        return True
    return with_start(alone_s, workers(spec.cluster)) < alone_s
