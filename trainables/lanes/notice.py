"""The notice that a machine is about to go, as spot machines are given one.

Ray calls such a node draining: SIGTERM to its `ray start --block`, or `ray drain-node`, says so to the cluster, which
starts nothing more there. A lane watches its own node and those of its workers (lane.py), and the mailbox passes the
notice on to the workers, which leave between two steps.
"""

import contextlib
import threading
from typing import Any

import ray

LOOK_EVERY_S = 2.0
given = threading.Event()
"""Whether this process, a worker, has been told to leave. There is no way back: its group ends."""


def leaving_nodes() -> set[str]:
    """Ids of the nodes that are about to go. Ray has no public function for it; its own trainer asks in this way."""
    return set(ray._private.state.state.get_draining_nodes())  # type: ignore[attr-defined]


def listen(mailbox: Any) -> None:
    """Wait for the notice in a thread of this worker."""

    def wait() -> None:
        with contextlib.suppress(ray.exceptions.RayError):  # the mailbox has ended
            ray.get(mailbox.told.remote())
            given.set()

    threading.Thread(target=wait, daemon=True, name="notice").start()
