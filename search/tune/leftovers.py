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
    """Shut a cluster down, then end the workers of it that do not end by themselves."""
    workers = workers_below(os.getpid())
    shut_down()
    deadline_s = time.monotonic() + GRACE_S
    while (left := [pid for pid in workers if is_worker(pid)]) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def workers_below(ancestor: int) -> list[int]:
    """Ray's workers among the descendants of a process; none where the system has no /proc to list them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    below = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return [pid for pid in below if is_worker(pid)]


def is_worker(pid: int) -> bool:
    """Whether a process runs that calls itself one of Ray's workers; a process that has ended has no command left."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False
