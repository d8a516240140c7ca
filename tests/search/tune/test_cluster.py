"""How many trials have a place, as nodes come and go, what is refused at once, and what killed controllers leave."""

import os
import time
from dataclasses import replace

import pytest

from search.tune.cluster import Room, Sweeper, cluster, gpu_share, join, lanes, places, room, unused_groups
from spaces.errors import SpecError, StillhouseError
from trainables.lanes.lane import GROUP_MEMORY
from trainables.lanes.settings import ClusterSpec

MINE = {"CPU": 1.0, "memory": float(GROUP_MEMORY)}


def node(cpus, gpus=0.0):
    return {"CPU": cpus, "GPU": gpus, "memory": 1e9}


@pytest.mark.parametrize(
    ("wanted", "nodes", "fit"),
    [
        (ClusterSpec(None, 1, 2, 0.0), [node(5), node(1), node(4)], 4),  # a worker lives on one node
        (ClusterSpec(None, 3, 1, 0.0), [node(2), node(2), node(4)], 2),  # the workers of a trial on any
        (ClusterSpec(None, 1, 4, 0.25), [node(16, 1.0), node(8), node(12, 2.0)], 7),
        (ClusterSpec(None, 1, 1, 0.1), [node(64, 0.3)], 3),
        (ClusterSpec(None, 1, 1, 0.0), [], 0),
    ],
    ids=str,
)
def test_places_are_counted_node_by_node(wanted, nodes, fit):
    assert places(wanted, nodes) == fit


@pytest.mark.parametrize(
    ("wanted", "nodes", "fit", "share"),
    [
        (ClusterSpec(), [node(16), node(8)], 9, 0.0),
        (ClusterSpec(), [node(16), node(32, 2.0)], 9, 0.25),  # four small students keep one busy
        (ClusterSpec(), [node(32, 2.0)], 3, 0.3333),  # its memory
        (ClusterSpec(None, 1, 4), [node(64, 1.0), node(16, 2.0)], 9, 0.5),  # the CPUs beside it
        (ClusterSpec(None, 1, 4), [node(2, 1.0)], 9, 1.0),
        (ClusterSpec(3), [node(16, 2.0)], 9, 0.5),  # trials that are to run at all
        (ClusterSpec(None, 2), [node(16, 2.0)], 9, 1.0),  # a GPU for each worker
    ],
    ids=str,
)
def test_what_a_worker_gets_of_a_gpu_where_the_spec_leaves_it_open(wanted, nodes, fit, share):
    assert gpu_share(wanted, nodes, fit) == share
    assert round(1 / share) * share <= 1 if share else not places(replace(wanted, gpus_per_worker=1), nodes)


def test_a_task_that_asks_for_no_gpu_sees_none(ray_cluster):
    seen = ray_cluster.remote(num_cpus=1)(lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))
    assert ray_cluster.get(seen.remote()) == ""


def test_room_follows_the_nodes_within_the_limit_of_the_spec(monkeypatch):
    now, nodes = [100.0], [node(2), node(4)]
    monkeypatch.setattr("search.tune.cluster.alive", lambda: nodes)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    free, limited = Room(ClusterSpec(None, 1, 1, 0.0)), Room(ClusterSpec(3, 1, 1, 0.0))
    assert (free(), limited()) == (6, 3)
    nodes.pop()
    assert (free(), limited()) == (6, 3)  # the cluster is asked every few seconds only
    for change, expected in ((nodes.clear, (0, 0)), (lambda: nodes.extend([node(8)] * 2), (16, 3))):
        change()
        now[0] += 3
        assert (free(), limited()) == expected


def test_nodes_that_are_gone_or_about_to_go_have_no_room(monkeypatch):
    nodes = [{"NodeID": name, "Alive": name != "dead", "Resources": node(2)} for name in ("stays", "leaves", "dead")]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("search.tune.cluster.leaving_nodes", lambda: {"leaves"})
    assert room(ClusterSpec(None, 1, 1, 0.0)) == room(ClusterSpec(3, 1, 1, 0.0)) == 2  # less than asked is no error
    with pytest.raises(SpecError, match="concurrent_trials can be at most 2"):
        lanes(ClusterSpec(3, 1, 1, 0.0))


def test_ray_client_is_refused_with_the_command_that_works():
    with pytest.raises(StillhouseError, match=r"ray job submit .* python -m search.cli run SPEC DIR --address auto"):
        join("ray://head:10001")


def test_what_does_not_fit_is_refused_with_the_numbers(ray_cluster, tmp_path):
    assert lanes(ClusterSpec(2, 1, 1, 0.0)) == 2
    assert lanes(ClusterSpec(1, 2, 1, 0.0)) == 1
    assert lanes(ClusterSpec(None, 1, 1, 0.0)) == 2
    assert lanes(ClusterSpec(None, 2, 1, 0.0)) == 1
    started = time.time()
    with (
        pytest.raises(SpecError, match="1 node with 2 CPUs, 0 GPUs; concurrent_trials can be at most 2"),
        cluster(ClusterSpec(3, 1, 1, 0.0), None, tmp_path / "log.txt"),
    ):
        pass
    with pytest.raises(SpecError, match="not even one trial fits"):
        lanes(ClusterSpec(None, 1, 1, 1.0))
    with pytest.raises(SpecError, match="not even one trial fits"):
        lanes(ClusterSpec(1, 1, 3, 0.0))
    assert time.time() - started < 60


def group(state, *bundles):
    return {"state": state, "bundles": dict(enumerate(bundles))}


def test_empty_groups_of_ours_are_unused_and_no_others():
    groups = {
        "warm": group("CREATED", MINE),
        "empty": group("CREATED", MINE, MINE),
        "half": group("CREATED", MINE, MINE),
        "waiting": group("PENDING", MINE),
        "gone": group("REMOVED", MINE),
        "of others": group("CREATED", {"CPU": 1.0}),
        "a lane": group("PENDING", {"memory": GROUP_MEMORY - 1}),
    }
    available = {
        "memory_group_empty": 2.0 * GROUP_MEMORY,
        "memory_group_half": 1.0 * GROUP_MEMORY,
        "memory_group_of others": 0.0,
    }
    assert unused_groups(groups, available) == ["empty", "waiting"]


def test_a_group_whose_controller_was_killed_is_given_back(ray_cluster, monkeypatch):
    import ray
    from ray.util import placement_group, placement_group_table

    @ray.remote(num_cpus=0)
    class Controller:
        def reserve(self):
            self.group = placement_group([{"CPU": 1, "memory": GROUP_MEMORY}])
            ray.get(self.group.ready())
            return self.group.id.hex()

    controller = Controller.remote()
    reserved = ray.get(controller.reserve.remote())
    ray.kill(controller)
    assert placement_group_table()[reserved]["state"] == "CREATED"
    monkeypatch.setattr("search.tune.cluster.SWEEP_EVERY_S", 0.0)
    monkeypatch.setattr("search.tune.cluster.UNUSED_S", {"CREATED": 0.3})
    sweeper = Sweeper()
    end = time.monotonic() + 20
    while placement_group_table()[reserved]["state"] != "REMOVED" and time.monotonic() < end:
        sweeper.on_step_end(0, [])
        time.sleep(0.1)
    assert placement_group_table()[reserved]["state"] == "REMOVED"


def test_the_end_of_a_study_leaves_no_empty_group(ray_cluster):
    from ray.util import placement_group, placement_group_table, remove_placement_group

    mine, other = (placement_group([{"CPU": 1, "memory": memory}]) for memory in (GROUP_MEMORY, GROUP_MEMORY - 1))
    ray_cluster.get([mine.ready(), other.ready()])
    Sweeper().finish()
    states = {group: placement_group_table()[group.id.hex()]["state"] for group in (mine, other)}
    remove_placement_group(other)
    assert states == {mine: "REMOVED", other: "CREATED"}
