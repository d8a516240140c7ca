"""Ray for the time of a study: started here or joined, quiet, and with room for what the spec asks."""

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util import placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

from search.tune.environment import PACKAGES, ROOT, output_to
from search.tune.kept_ray import KeptRay
from search.tune.leftovers import end_with_workers
from spaces.errors import SpecError, StillhouseError
from trainables.copies import home
from trainables.lanes.lane import GROUP_MEMORY
from trainables.lanes.notice import leaving_nodes
from trainables.lanes.settings import ClusterSpec

OBJECT_STORE_BYTES = 100_000_000
"""Ray's shared memory. Data goes to the workers as memory-mapped files, so about the least that Ray allows will do."""
MOST_TOGETHER = 4
"""Trials that share a GPU unless the spec says otherwise: a small student keeps one busy for a quarter of a step or
more (docs/results/performance.md)."""
GPU_PARTS = 10_000
"""Ray counts a GPU in so many parts."""
START_ATTEMPTS = 3
LOOK_EVERY_S = 2.0
SWEEP_EVERY_S = 5.0
FINISH_S = 5.0
UNUSED_S = {"CREATED": 20.0}
WAITING_S = 120.0
"""How long a placement group may stand without a worker, once it has its place or while it waits for one. Ray Train
starts its workers as soon as there is a place, and waits a minute for that."""
LOG = logging.getLogger("stillhouse.cluster")
QUIET: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}


@contextlib.contextmanager
def cluster(wanted: ClusterSpec, address: str | None, log: Path, kept: KeptRay | None = None) -> Iterator[None]:
    """Ray, joined or started, with room for what the spec asks; left or shut down afterwards.

    Without an address this machine gets a cluster of its own, even when another one is running here, unless `kept` is
    given. A process that is connected already stays as it is.
    """
    ours = not ray.is_initialized()
    with output_to(log):
        if ours and address is not None:
            join(address)
        elif ours and (kept is None or not connected(kept)):
            start()
    try:
        lanes(wanted)
        yield
    finally:
        if ours:
            with output_to(log):
                end_with_workers(ray.shutdown)


def start(num_cpus: int | None = None) -> None:
    """A cluster of this machine alone. On a machine that is very busy Ray may miss its own deadlines: try again.

    Raises StillhouseError when it does not start.
    """
    for left in reversed(range(START_ATTEMPTS)):
        try:
            ray.init(
                address="local", num_cpus=num_cpus, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES,
                **QUIET,
            )  # fmt: skip
            return
        except Exception as error:  # Ray raises the bare class for a node that did not come up in time
            ray.shutdown()
            if not left:
                raise StillhouseError(f"Ray did not start on this machine: {first_line(error)}") from error


def connected(kept: KeptRay) -> bool:
    """Whether the Ray of `stillhouse up` has taken this process; its workers have our environment and packages."""
    try:
        ray.init(address=kept.address, **QUIET)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        LOG.warning("the Ray of `stillhouse up` does not answer: %s", first_line(error))
        return False
    return True


def join(address: str) -> None:
    """A cluster that somebody else started. Its workers get our packages from here, whatever is installed there."""
    if address.startswith("ray://"):
        raise StillhouseError(
            f"{address!r} is an address of Ray Client, which would leave the driver on this machine: the study would "
            "end with the connection. Run the driver on the cluster:\n"
            "  ray job submit --address http://HEAD:8265 --working-dir . -- "
            "python -m search.cli run SPEC DIR --address auto"
        )
    try:
        ray.init(address=address, runtime_env=runtime_env(), **QUIET)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise StillhouseError(
            f"no Ray cluster answers at {address!r}: {first_line(error)}\n"
            "If it uses a token: export RAY_AUTH_MODE=token, with its ~/.ray/auth_token copied here"
        ) from error


def runtime_env() -> dict[str, Any]:
    """What the workers of a cluster get from here: the packages, and where the cache of nodes that share no disk is."""
    packages = [str(ROOT / name) for name in PACKAGES]
    at = home()
    return {"py_modules": packages} | ({} if at is None else {"env_vars": {"STILLHOUSE_CACHE": at}})


def first_line(error: Exception) -> str:
    """The beginning of what Ray says, which can be long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def alive() -> list[dict[str, float]]:
    """What each node of the cluster has at this moment, but for those that are about to go."""
    leaving = leaving_nodes()
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def room(wanted: ClusterSpec) -> int:
    """How many trials may run at this moment: as many as fit, and no more than the spec says."""
    fit = places(wanted, alive())
    return fit if wanted.concurrent_trials is None else min(wanted.concurrent_trials, fit)


def workers(wanted: ClusterSpec) -> int:
    """How many workers of trials there may be at this moment; where there is no room, one, which waits."""
    return max(1, room(wanted) * wanted.workers_per_trial)


def places(wanted: ClusterSpec, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials fit on these nodes at the same time."""
    needs = {"CPU": wanted.cpus_per_worker, "GPU": wanted.gpus_per_worker or 0}
    workers = sum(
        min(int(node.get(kind, 0) / amount + 1e-6) for kind, amount in needs.items() if amount) for node in nodes
    )
    return workers // wanted.workers_per_trial


def gpu_share(wanted: ClusterSpec, nodes: Sequence[Mapping[str, float]], fit: int = MOST_TOGETHER) -> float:
    """What a worker gets of a GPU where the spec leaves it open: 0 where no node has one, 1 to those of DDP.

    Else as many trials share a GPU as the CPUs of its node can serve, as are to run at all, and as `fit` its memory.
    """
    having = [node for node in nodes if node.get("GPU", 0) >= 1]
    if not having:
        return 0.0
    if wanted.workers_per_trial > 1:
        return 1.0
    served = min(int(node.get("CPU", 0) / wanted.cpus_per_worker / node["GPU"]) for node in having)
    together = min(fit, served, MOST_TOGETHER)
    if wanted.concurrent_trials:
        together = min(together, math.ceil(wanted.concurrent_trials / sum(node["GPU"] for node in having)))
    together = max(1, together)
    return math.floor(GPU_PARTS / together) / GPU_PARTS


class Room:
    """`room`, looked up now and then: nodes come and go, and a trial without a place would only wait."""

    def __init__(self, wanted: ClusterSpec) -> None:
        self.wanted, self.known, self.looked_s = wanted, room(wanted), time.monotonic()

    def __call__(self) -> int:
        if time.monotonic() - self.looked_s > LOOK_EVERY_S:
            self.known, self.looked_s = room(self.wanted), time.monotonic()
        return self.known


def lanes(wanted: ClusterSpec) -> int:
    """How many trials run at the same time, as a study begins: what the spec says, else as many as fit.

    Raises SpecError for what would wait for ever: Ray queues a request that no node can serve, without a word. Nodes
    that are lost later are waited for.
    """
    nodes = alive()
    room = places(wanted, nodes)
    asked = 1 if wanted.concurrent_trials is None else wanted.concurrent_trials
    if asked <= room:
        return wanted.concurrent_trials or room
    have = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
    advice = f"concurrent_trials can be at most {room}" if room else "not even one trial fits"
    worker = f"({wanted.cpus_per_worker} CPUs, {wanted.gpus_per_worker or 0:g} GPUs)"
    plural = "s" if len(nodes) != 1 else ""
    raise SpecError([
        f"[cluster] {asked} concurrent trials x {wanted.workers_per_trial} workers x {worker} do "
        f"not fit: the cluster has {len(nodes)} node{plural} with {have}; {advice}"
    ])  # fmt: skip


class Sweeper(tune.Callback):
    """Gives back what a worker group has reserved whose controller was killed, in this run or an earlier one.

    Ray keeps a placement group for as long as the job that made it, and asks its dashboard for dead controllers, which
    an installation without ray[default] does not have: each of them would cost the study a place for good.
    """

    def __init__(self) -> None:
        self.unused_since: dict[str, float] = {}
        self.looked_s = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self.looked_s < SWEEP_EVERY_S:
            return
        self.looked_s = time.monotonic()
        table = placement_group_table()
        unused = unused_groups(table, ray.available_resources())
        self.unused_since = {group: self.unused_since.get(group, self.looked_s) for group in unused}
        for group, since_s in self.unused_since.items():
            if self.looked_s - since_s > UNUSED_S.get(table[group]["state"], WAITING_S):
                remove(group)

    def finish(self) -> None:
        """The study has ended, and with it every lane of this job: what stands empty now waits for nobody."""
        job, end_s = ray.get_runtime_context().get_job_id(), time.monotonic() + FINISH_S
        while time.monotonic() < end_s:
            table = placement_group_table()
            mine = {group: facts for group, facts in table.items() if group.endswith(job) and is_ours(facts)}
            if not mine:
                return
            for group in unused_groups(mine, ray.available_resources()):
                remove(group)
            time.sleep(0.2)  # Ray tells of resources a moment after they change

    def __getstate__(self) -> dict[str, Any]:
        """The Tuner pickles its callbacks for a restore that never happens."""
        return {}


def remove(group: str) -> None:
    """Give back what a placement group has reserved."""
    LOG.info("the placement group %s stands empty: removed", group)
    remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group)))


def unused_groups(groups: Mapping[str, Mapping[str, Any]], available: Mapping[str, float]) -> list[str]:
    """Ids of the placement groups of our lanes, of any run, that no worker is in."""
    found = []
    for group, facts in groups.items():
        free = available.get(f"memory_group_{group}", 0.0)
        if is_ours(facts) and (facts["state"] != "CREATED" or free >= GROUP_MEMORY * len(facts["bundles"])):
            found.append(group)
    return found


def is_ours(facts: Mapping[str, Any]) -> bool:
    """Whether a placement group is that of a lane's workers, and not yet removed."""
    bundles = list(facts["bundles"].values())
    ours = bool(bundles) and all(bundle.get("memory") == GROUP_MEMORY for bundle in bundles)
    return ours and facts["state"] != "REMOVED"
