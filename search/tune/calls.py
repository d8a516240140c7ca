"""Calls on the workers of the cluster: what a study needs before its first trial and after its last.

Ray keeps the process of a call for the next one, so what it has imported and loaded is paid for once. A function that
is called so must stand in a module that imports no Ray Tune: the process of a worker begins sooner then. Nodes may come
and go: a call whose node is lost is made on another one, however often that happens, and nodes that join take calls.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import ray

from spaces.errors import StillhouseError
from trainables.lanes.settings import ClusterSpec

ATTEMPTS = 2
"""How often the process of a call may be begun, when it crashes."""
CRASHED = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
"""What may be the fault of a call, unlike the end of a node."""
START_S = 8.0
"""What a worker takes until it has imported what an encoder needs, about."""


def with_start(alone_s: float, places: int) -> float:
    """Seconds that workers take for what takes so long alone."""
    return START_S + alone_s / places


def on_workers(
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    wanted: ClusterSpec,
    what: str,
    keep: Callable[[int, Any], Any] = lambda number, result: result,
    most: Callable[[], int] = lambda: sys.maxsize,
) -> Iterator[Any]:
    """What each call returns, in their order; as many at a time as the cluster has room for workers of a trial.

    keep: what is kept of the result of a call, by its number, until its turn comes. most: how many calls Ray may know
    at a time; of calls that wait for what others give them it would begin more than there are CPUs. What `function`
    holds goes to each node once.

    Raises the StillhouseError that a call raised; of any other error one that says `what` could not be done, and why.
    """
    threads = max(1, wanted.cpus_per_worker)
    options = {"num_cpus": wanted.cpus_per_worker, "num_gpus": wanted.gpus_per_worker or 0}
    remote = ray.remote(max_retries=0, **options)(called)  # type: ignore[call-overload]
    shipped = ray.put(function)

    def begin(number: int) -> ray.ObjectRef:
        return remote.remote(shipped, calls[number], threads)

    left, waiting, crashes, results = iter(range(len(calls))), dict[ray.ObjectRef, int](), Counter[int](), {}
    try:
        for number in range(len(calls)):
            while number not in results:
                waiting |= {begin(each): each for each in islice(left, max(0, most() - len(waiting)))}
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                ended = waiting.pop(done)
                try:
                    results[ended] = keep(ended, ray.get(done))
                except ray.exceptions.RayError as error:
                    crashes[ended] += isinstance(error, CRASHED)
                    if not isinstance(error, (ray.exceptions.NodeDiedError, *CRASHED)) or crashes[ended] == ATTEMPTS:
                        raise told(error, what) from error
                    waiting[begin(ended)] = ended
            yield results.pop(number)
    finally:
        for each in waiting:
            ray.cancel(each)


def told(error: ray.exceptions.RayError, what: str) -> StillhouseError:
    """An error for a person: that of a call itself, if it is one."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, StillhouseError) else StillhouseError(f"{what}: {reason(error)}")


def called(function: Callable[..., Any], arguments: tuple[Any, ...], threads: int) -> Any:
    """The task of one worker."""
    import torch  # the driver of a study that needs no call does not wait for it

    torch.set_num_threads(threads)
    return function(*arguments)


def reason(error: Exception) -> str:
    """What a person needs of a remote error."""
    cause = getattr(error, "cause", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
