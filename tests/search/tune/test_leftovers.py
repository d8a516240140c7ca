import os
import subprocess
import sys

import pytest

from search.tune import leftovers

STAY = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


@pytest.fixture
def child():
    """Start a process that calls itself by a name; unless told otherwise it ends for nothing but a kill."""
    started = []

    def start(name, code=STAY):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([name, "-c", code], executable=sys.executable, **pipes)
        process.stdout.readline()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def test_a_worker_that_does_not_end_is_ended_and_nothing_else(child, monkeypatch):
    monkeypatch.setattr(leftovers, "GRACE_S", 0.2)
    worker, other = child("ray::TrainController"), child("python")
    assert leftovers.workers_below(os.getpid()) == [worker.pid]
    shut = []
    leftovers.end_with_workers(lambda: shut.append(True))
    assert shut and worker.wait(10) == -9 and other.poll() is None


def test_who_ends_by_itself_is_waited_for_and_not_killed(child):
    worker = child("ray::IDLE", "import sys, time; print(flush=True); sys.stdin.read(); time.sleep(0.3); sys.exit(7)")
    leftovers.end_with_workers(worker.stdin.close)
    assert worker.wait(10) == 7
