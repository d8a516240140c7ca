"""What may befall a study on a cluster that others started: `ray start` twice, a token, no code of ours, and losses."""

import contextlib
import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy
from processes import marked

from search.store.parts import Store
from spaces.errors import StillhouseError

ROOT = Path(__file__).parents[3]
SPEC = toy.SPEC.replace("concurrent_trials = 2", "")
START_S = "5"
"""How long a worker group waits for free CPUs here; Ray's own patience is a minute."""


def test_rows_wait_for_a_storage_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("search.store.parts.PAUSES_S", (0.01, 0.02, 0.03))
    store, replace, calls = Store(tmp_path, ["toy"]), os.replace, []

    def flaky(source, target):
        calls.append(source)
        if len(calls) <= 3:
            raise OSError(errno.EIO, "the server does not answer")
        replace(source, target)

    monkeypatch.setattr(os, "replace", flaky)
    store.write_part("reports", 0, [{"trial": 0, "step": 1}])
    assert len(calls) == 4 and store.read_rows("reports")[0]["step"] == 1
    calls.clear()
    monkeypatch.setattr("search.store.parts.PAUSES_S", (0.01,))
    with pytest.raises(StillhouseError, match="the server does not answer"):
        store.write_part("reports", 1, [{"trial": 1, "step": 1}])
    assert len(calls) == 2


@pytest.fixture
def two_nodes(tmp_path):
    """Two nodes of one CPU on loopback, closed by a token; (address, second node, environment of a driver).

    Their processes find the fake trials, and our packages nowhere but where the driver ships them to.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    mark = f"{tmp_path.name}-{os.getpid()}"
    environment = {
        **os.environ, **toy.ENVIRONMENT, "PYTHONPATH": str(ROOT / "tests/search"), "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0", "STILLHOUSE_TEST_MARK": mark,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # a node with the address 127.0.0.1 is taken for one of those systems
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": START_S, "RAY_local_fs_capacity_threshold": "0.001",
    }  # fmt: skip
    started = []

    def start(*arguments):
        command = ["start", "--block", "--num-cpus=1", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
        ray = "from ray.scripts.scripts import main; main()"
        with open(tmp_path / f"node{len(started)}.txt", "w") as log:
            started.append(subprocess.Popen(
                [sys.executable, "-c", ray, *command, *arguments], env=environment, cwd=tmp_path, stdout=log,
                stderr=log, start_new_session=True,
            ))  # fmt: skip

    start("--head", f"--port={port}", "--include-dashboard=false")
    deadline = time.time() + 90
    while not answers(port) and time.time() < deadline:
        time.sleep(0.1)
    start(f"--address=127.0.0.1:{port}")
    yield f"127.0.0.1:{port}", started[1], {**environment, "PYTHONPATH": toy.ENVIRONMENT["PYTHONPATH"]}
    kill(marked(mark))  # the drivers as well, should the test have failed
    while (left := marked(mark)) and time.time() < deadline + 300:
        time.sleep(0.2)
    assert not left


def answers(port):
    """Whether somebody listens."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def kill(pids):
    """SIGKILL for those of them that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def of_node(node, mark):
    """{process id: command} of what `ray start --block` has started, itself included."""
    found = {}
    for pid, command in marked(mark).items():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == node.pid:
                found[pid] = command
    return found


class Watched:
    """A driver whose trials write down where they run."""

    def __init__(self, folder, journal, environment, **options):
        self.store, self.journal = Store(folder, ["toy"]), journal
        options = {"spec": SPEC, "journal": str(journal), **options}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/search/toy.py"), str(folder), json.dumps(options)],
            env=environment, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def starts(self):
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [json.loads(line) for line in lines]

    def until(self, found, limit_s=400):
        """Wait for the first thing that `found` gives."""
        deadline = time.time() + limit_s
        while (result := found()) is None and time.time() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(self.process.communicate()[0])
            time.sleep(0.1)
        assert result is not None
        return result

    def under_way(self, on):
        """The start of a trial on a node that has kept a checkpoint and waits at the gate, so that it does not end."""
        done = set(self.store.numbers("trials"))
        latest = {start["trial"]: start for start in self.starts() if start["trial"] not in done}
        for trial, start in latest.items():
            if start["node"] == on and Path(self.store.path("checkpoints", f"{trial:05d}", "step")).exists():
                return start
        return None

    def started_again(self, known, lost):
        """The first start of a lost trial after the known ones."""
        again = [start for start in self.starts()[len(known) :] if start["trial"] == lost["trial"]]
        assert again, (lost, self.starts(), self.store.read_rows("trials"))
        return again[0]


def named(processes, word):
    """Process ids by a word of their command."""
    return [pid for pid, command in processes.items() if word in command]


def test_a_node_is_lost_on_a_cluster_that_was_joined(two_nodes, tmp_path):
    address, node, environment = two_nodes
    intruder = Watched(tmp_path / "intruder", tmp_path / "none", {**environment, "RAY_AUTH_MODE": "disabled"},
                       address=address)  # fmt: skip
    gate = tmp_path / "gate"
    driver = Watched(tmp_path / "study", tmp_path / "journal", environment, address=address, step_s=0.5,
                     filling_width=96, gate=str(gate))  # fmt: skip
    mark = environment["STILLHOUSE_TEST_MARK"]
    (raylet,) = driver.until(lambda: named(of_node(node, mark), "/raylet/raylet ") or None)
    driver.until(lambda: len({start["node"] for start in driver.starts()}) == 2 or None)
    lost = driver.until(lambda: driver.under_way(on=raylet))
    known = driver.starts()
    kill(of_node(node, mark))  # the other node has no free CPU, so the trial is handed back until it has
    gate.touch()
    output, _ = driver.process.communicate(timeout=300)
    assert driver.process.returncode == 0, output
    moved = driver.started_again(known, lost)
    assert moved["node"] != raylet and moved["step"] >= 1
    rows = driver.store.read_rows("trials")
    assert [row["trial"] for row in rows] == list(range(8)), output
    for row in rows:
        assert row["status"] == ("failed" if row["hidden_size"] == 96 else "finished"), row["reason"]
    assert {row["reason"].partition(":")[0] for row in rows if row["hidden_size"] == 96} == {"OutOfDiskError"}
    code = {start["code"] for start in driver.starts()}
    assert code and all("/runtime_resources/py_modules_files/" in path for path in code), code
    refused, _ = intruder.process.communicate(timeout=60)
    assert intruder.process.returncode and f"no Ray cluster answers at '{address}'" in refused, refused
    assert "export RAY_AUTH_MODE=token" in refused and not intruder.store.exists("spec.toml")
