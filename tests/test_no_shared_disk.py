"""Two nodes and a driver with nothing in common but an S3 server: targets, rungs, a node that is lost, a resume."""

import contextlib
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
from docstring_task import write_docstring_task
from processes import marked

from search.store.parts import Store

ROOT = Path(__file__).parents[1]
SPEC = """
name = "apart"
seed = 3
[teacher]
path = "teacher"
[corpus]
source = "text"
sequence_length = 32
[budget]
trials = 3
train_tokens = 150_000
[rungs]
first_tokens = 25_000
[space]
method = ["hs"]
shape = ["2x96", "3x96"]
mapping = ["uniform"]
initialisation = ["projected_layers"]
learning_rate = [2e-3, 1e-3]
batch_size = [8]
[[tasks]]
name = "origin"
source = "origin"
kind = "classification"
max_length = 32
[targets]
mode = "cache"
[evaluation]
floor_seeds = 1
starts = false
[search]
schedule = "halving"
"""
LIMIT_S = 300


@pytest.fixture
def data(tmp_path):
    """A corpus, a task and a teacher in folders of the driver's."""
    write_docstring_task(tmp_path)
    (tmp_path / "teacher").mkdir()
    for file in (ROOT / "trainables/embedded_teacher").iterdir():
        if file.is_file():
            (tmp_path / "teacher" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "spec.toml").write_text(SPEC)
    return tmp_path


@pytest.fixture
def nodes(tmp_path, bucket):
    """(address, environment of the driver, the processes of both nodes): each of them has a home folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mark, token = f"{tmp_path.name}-{os.getpid()}", secrets.token_hex(32)
    started: list[subprocess.Popen] = []

    def environment(name):
        (tmp_path / name).mkdir()
        own = {key: value for key, value in os.environ.items() if key not in ("STILLHOUSE_CACHE", "XDG_CACHE_HOME")}
        return {
            **own, **toy.ENVIRONMENT, "HOME": str(tmp_path / name), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token,
            "RAY_USAGE_STATS_ENABLED": "0", "STILLHOUSE_TEST_MARK": mark, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",
        }  # fmt: skip

    def start(name, *arguments):
        command = ["start", "--block", "--num-cpus=1", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
        ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
        again = 'for attempt in 1 2 3; do "$@" && break; done'  # Ray gives a node 30 s to start
        with (tmp_path / f"{name}.txt").open("w") as log:
            started.append(subprocess.Popen(
                ["bash", "-c", again, "ray", *ray, *command, *arguments], env=environment(name), cwd=tmp_path,
                stdout=log, stderr=log, start_new_session=True,
            ))  # fmt: skip

    start("node1", "--head", f"--port={port}", "--include-dashboard=false")
    until(lambda: answers(port))
    start("node2", f"--address=127.0.0.1:{port}")
    driver = {**environment("driver"), "STILLHOUSE_CACHE": f"{bucket}/{tmp_path.name}/cache"}
    yield f"127.0.0.1:{port}", driver, started
    until(lambda: not killed(mark))


def killed(mark):
    """The processes that carry the mark and were still there."""
    found = marked(mark)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def until(found):
    """Wait for the first thing that `found` gives."""
    deadline = time.time() + LIMIT_S
    while not (result := found()):
        assert time.time() < deadline
        time.sleep(0.1)
    return result


def answers(port):
    """Whether somebody listens."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def cache_of(folder):
    """{kind: keys} of a node's copies."""
    base = folder / ".cache/stillhouse"
    return {kind.name: {key.name for key in kind.iterdir()} for kind in base.iterdir() if kind.is_dir()}


def test_nodes_that_share_no_disk_run_lose_and_resume_a_study(nodes, data, bucket):
    address, environment, started = nodes
    study = f"{bucket}/{data.name}/study"
    command = [sys.executable, "-m", "search.cli"]
    run = subprocess.Popen(
        [*command, "run", "spec.toml", study, "--address", address], env=environment, cwd=data, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    store = Store(study, ["origin"])
    both = [data / name / ".cache/stillhouse/targets" for name in ("node1", "node2")]
    until(lambda: run.poll() is not None or all(folder.is_dir() for folder in both))  # both nodes train
    os.killpg(started[1].pid, signal.SIGKILL)
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, output
    rows = store.read_rows("trials")
    assert [row["trial"] for row in rows] == [0, 1, 2] and {row["status"] for row in rows} <= {"finished", "stopped"}
    first, second, driver = (cache_of(data / name) for name in ("node1", "node2", "driver"))
    assert first["corpora"] == second["corpora"] == driver["corpora"] and first["tasks"] == driver["tasks"]
    assert first["targets"] == second["targets"] and first["teachers"] == second["teachers"]
    assert "teachers" not in driver
    # What the driver has prepared is gone, and comes from home as it does for others.
    (data / "driver/.cache/stillhouse").rename(data / "driver/gone")
    more = subprocess.run(
        [*command, "resume", study, "--address", address, "--set", "budget.trials=4"], env=environment, cwd=data,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
    )  # fmt: skip
    assert more.returncode == 0, more.stdout
    assert "teacher targets: cached before" in more.stdout, more.stdout
    assert [row["trial"] for row in store.read_rows("trials")] == [0, 1, 2, 3]
