"""What is swept up after controllers that were killed."""

from search.cluster import unused_groups
from trainables.worker import GROUP_MEMORY

MINE = {"CPU": 1.0, "memory": float(GROUP_MEMORY)}


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

    from search.cluster import Sweeper

    @ray.remote(num_cpus=0)
    class Controller:
        def reserve(self):
            self.group = placement_group([{"CPU": 1, "memory": GROUP_MEMORY}])
            ray.get(self.group.ready())
            return self.group.id.hex()

    controller = Controller.remote()
    reserved = ray.get(controller.reserve.remote())
    ray.kill(controller)
    monkeypatch.setattr("search.cluster.SWEEP_EVERY_S", 0.0)
    monkeypatch.setattr("search.cluster.UNUSED_S", 0.3)
    sweeper = Sweeper()
    import time

    end = time.monotonic() + 20
    while placement_group_table()[reserved]["state"] != "REMOVED" and time.monotonic() < end:
        sweeper.on_step_end(0, [])
        time.sleep(0.1)
    assert placement_group_table()[reserved]["state"] == "REMOVED"
