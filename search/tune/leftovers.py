"""Worker processes that outlive a cluster of this machine's own.

A worker of Ray 2.60 may wait for ever in its last exit handlers, after it has said goodbye to its raylet; seen with
Ray Train's controller on a busy machine. The raylet is gone by then, and nobody ends the process.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

GRACE_S = 5.0
"""What a worker may take to end by itself."""


def end_with_workers(shut_down: Callable[[], None]) -> None:
    """Shut a cluster down, then end the workers of it that do not end by themselves.

    Whose raylet still runs belongs to another cluster, or to one that was not shut down, and is left alone.
    """
    workers = workers_below(os.getpid())
    shut_down()
    deadline_s = time.monotonic() + GRACE_S
    while (left := [each for each in workers.items() if is_orphan(*each)]) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    for pid, _ in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def workers_below(ancestor: int) -> dict[int, int]:
    """Ray's workers among the descendants of a process, each with the process that started it, its raylet.

    None where the system has no /proc to list them.
    """
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = parent_of(int(entry.name))
    below = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {pid: parents[pid] for pid in below if is_worker(pid)}


def parent_of(pid: int) -> int:
    """Raises OSError for a process that is gone."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_worker(pid: int) -> bool:
    """Whether a process runs that calls itself one of Ray's workers; a process that has ended has no command left."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def is_orphan(pid: int, raylet: int) -> bool:
    """Whether a worker runs on after its raylet has ended, so that the system has given it another parent."""
    try:
        return is_worker(pid) and parent_of(pid) != raylet
    except OSError:
        return False
