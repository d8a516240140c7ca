"""Files that only the driver sees, read by workers of its cluster.

No Ray Tune is imported here, so that a worker begins soon.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.text.files import Read
from trainables.text.fragments import Fragment


class Reader:
    """Reads files on its node."""

    def read(self, path: str, place: int, number: int) -> bytes:
        """So many bytes from a place on."""
        with open(path, "rb") as file:
            file.seek(place)
            return file.read(number)


@dataclass(frozen=True)
class ThroughDriver:
    """A file of the driver's machine."""

    reader: Any
    """a handle of a Reader there"""
    path: str

    def open(self) -> Read:
        """What reads it from anywhere in the cluster."""
        return partial(read_there, self.reader, self.path)


def through_driver(fragments: Sequence[Fragment]) -> list[Fragment]:
    """The same fragments for workers: files of this machine are read by an actor on it, which ends when nobody knows of
    it any more; workers open those of an object store themselves.
    """
    if all(span.file.origin for fragment in fragments for span in fragment):
        return list(fragments)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Reader)
    reader = remote.options(scheduling_strategy=here).remote()
    return [
        tuple(
            replace(span, file=replace(span.file, origin=span.file.origin or ThroughDriver(reader, span.file.place)))
            for span in fragment
        )
        for fragment in fragments
    ]


def read_there(reader: Any, path: str, place: int, number: int) -> bytes:
    """So many bytes of a file that the driver sees."""
    found: bytes = ray.get(reader.read.remote(path, place, number))
    return found
