"""Calls on the workers of the cluster: what a study needs before its first trial and after its last.

Ray keeps the process of a call for the next one, so what it has imported and loaded is paid for once. A function that
is called so must stand in a module that imports no Ray Tune: the process of a worker begins sooner then.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from spaces.errors import StillhouseError
from trainables.lanes.settings import ClusterSpec

ATTEMPTS = 2
"""A call whose process died is tried once more."""
START_S = 8.0
"""What a worker takes until it has imported what an encoder needs, about."""


def with_start(alone_s: float, places: int) -> float:
    """Seconds that workers take for what takes so long alone."""
    return START_S + alone_s / places


def on_workers(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], wanted: ClusterSpec, what: str
) -> Iterator[Any]:
    """What each call returns, in their order; as many at a time as the cluster has room for workers of a trial.

    Raises the StillhouseError that a call raised; of any other error one that says `what` could not be done, and why.
    """
    threads = max(1, wanted.cpus_per_worker)
    options = {"num_cpus": wanted.cpus_per_worker, "num_gpus": wanted.gpus_per_worker or 0}
    remote = ray.remote(max_retries=ATTEMPTS - 1, **options)(called)  # type: ignore[call-overload]
    waiting = [remote.remote(function, arguments, threads) for arguments in calls]
    try:
        for each in waiting:
            yield ray.get(each)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, StillhouseError):
            raise cause from None
        raise StillhouseError(f"{what}: {reason(cause or error)}") from error
    finally:
        for each in waiting:
            ray.cancel(each)


def called(function: Callable[..., Any], arguments: tuple[Any, ...], threads: int) -> Any:
    """The task of one worker."""
    import torch  # the driver of a study that needs no call does not wait for it

    torch.set_num_threads(threads)
    return function(*arguments)


def reason(error: BaseException) -> str:
    """What a person needs of a remote error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
