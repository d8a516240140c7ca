"""Files that only the driver sees, read by workers of its cluster.

No Ray Tune is imported here, so that a worker begins soon.
"""

from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.text.fragments import Read, read_bytes


class Reader:
    """Reads files on its node."""

    def read(self, path: Path, place: int, number: int) -> bytes:
        """So many bytes from a place on."""
        return read_bytes(path, place, number)


def read_through_driver() -> Read:
    """What workers read with: an actor on the node of the driver, which ends when nobody knows of it any more."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Reader)
    return partial(read_there, remote.options(scheduling_strategy=here).remote())


def read_there(reader: Any, path: Path, place: int, number: int) -> bytes:
    """So many bytes of a file that the driver sees."""
    found: bytes = ray.get(reader.read.remote(path, place, number))
    return found
