import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from search.tune import leftovers

WORKER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep({seconds})"
RAYLET = """
import subprocess, sys
worker = subprocess.Popen([{name!r}, "-c", {code!r}], executable=sys.executable, stdout=subprocess.PIPE)
worker.stdout.readline()
print(worker.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start():
    """Start a process that starts a worker of this name and ends, without it, with its input: (process, worker)."""
    started = []

    def run(name, seconds=60):
        code = RAYLET.format(name=name, code=WORKER.format(seconds=seconds))
        raylet = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append((raylet, int(raylet.stdout.readline())))
        return started[-1]

    yield run
    for raylet, worker in started:
        raylet.kill()
        raylet.wait(10)
        raylet.stdin.close()
        raylet.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def end(raylet):
    """End a raylet in an orderly way; its worker is told nothing."""
    raylet.stdin.close()
    raylet.wait(10)


def runs(pid):
    """Whether a process has not ended."""
    try:
        return os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/cmdline").read() != ""
    except OSError:
        return False


def test_a_worker_that_does_not_end_with_its_raylet_is_ended_and_nothing_else(start, monkeypatch):
    monkeypatch.setattr(leftovers, "GRACE_S", 0.2)
    (raylet, worker), (_, of_another), (_, other) = start("ray::TrainController"), start("ray::IDLE"), start("python")
    assert {worker, of_another} <= set(leftovers.workers_below(os.getpid())) - {other}
    leftovers.end_with_workers(lambda: end(raylet))
    deadline_s = time.monotonic() + 10
    while runs(worker) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not runs(worker) and runs(of_another) and runs(other)


def test_who_ends_by_itself_is_waited_for_and_not_killed(start, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda *ignored: pytest.fail("nothing had to be killed"))
    raylet, worker = start("ray::IDLE", seconds=1)
    leftovers.end_with_workers(lambda: end(raylet))
    assert not runs(worker)
