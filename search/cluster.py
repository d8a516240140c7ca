"""Ray for the time of a study: started here or joined, quiet, and with room for what the spec asks."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from search.environment import output_to
from search.sections import ClusterSection
from spaces.errors import SpecError, StillhouseError

OBJECT_STORE_BYTES = 100_000_000
"""Ray's shared memory. Data goes to the workers as memory-mapped files, so about the least that Ray allows will do."""


@contextlib.contextmanager
def cluster(wanted: ClusterSection, address: str | None, log: Path) -> Iterator[None]:
    """Ray, connected or started, with room for at least one lane; shut down afterwards.

    Without an address a cluster of this machine's own is started, even when another one is running here.
    """
    options: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False, "ignore_reinit_error": False}
    with output_to(log):
        if ray.is_initialized():  # a caller's own cluster, as in the tests: used and left alone
            check_room(wanted)
            started = False
        else:
            if address is None:
                cpus = max(os.cpu_count() or 1, 1)
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    **options,
                )
            else:
                try:
                    ray.init(address=address, **options)
                except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                    first = (str(error).strip().splitlines() or ["no answer"])[0]
                    raise StillhouseError(
                        f"no Ray cluster answers at {address!r}: {first}\n"
                        "If it uses a token: export RAY_AUTH_MODE=token, with its ~/.ray/auth_token copied here"
                    ) from error
            started = True
    try:
        if started:
            check_room(wanted)
        yield
    finally:
        if started:
            with output_to(log):
                ray.shutdown()


def check_room(wanted: ClusterSection) -> None:
    """Refuse at once what would wait for ever: Ray queues a request that no node can serve, without a word."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needs = {"CPU": wanted.cpus_per_worker, "GPU": wanted.gpus_per_worker}
    places = sum(
        min(int(node.get(kind, 0) / amount + 1e-6) for kind, amount in needs.items() if amount) for node in nodes
    )
    asked = wanted.concurrent_trials * wanted.workers_per_trial
    if asked <= places:
        return
    have = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
    room = places // wanted.workers_per_trial
    advice = f"concurrent_trials can be at most {room}" if room else "not even one trial fits"
    worker = f"({wanted.cpus_per_worker} CPUs, {wanted.gpus_per_worker:g} GPUs)"
    plural = "s" if len(nodes) != 1 else ""
    raise SpecError([
        f"[cluster] {wanted.concurrent_trials} concurrent trials x {wanted.workers_per_trial} workers x {worker} do "
        f"not fit: the cluster has {len(nodes)} node{plural} with {have}; {advice}"
    ])  # fmt: skip
