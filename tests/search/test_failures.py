"""What may befall a study on a cluster, on real processes: hangs, kills, a lost lane, a lost node, Ctrl-C, a dead disk."""

import errno
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import toy
from test_runner import marked

from search.cluster import join
from search.runner import tune_study
from search.store import Store
from spaces.errors import StillhouseError
from trainables.worker import LaneSettings, lane_trainable

ROOT = Path(__file__).parents[2]


def test_a_trial_that_hangs_is_started_again_once(ray_cluster, tmp_path):
    from ray import tune

    acts = ["killed_once", "slow", "hang_once", "hang", "ok"]
    jobs = [
        json.dumps({"number": i, "config": {"act": act}, "slow_s": 1.0, "folder": str(tmp_path / f"marker{i}")})
        for i, act in enumerate(acts)
    ]
    results = tune.Tuner(
        lane_trainable(LaneSettings("fake_trials:act", hang_after_s=3)),
        param_space={"job": tune.grid_search(jobs)},
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(name="lane", storage_path=str(tmp_path / "tune"), verbose=0),
    ).fit()
    assert not results.errors
    found = {json.loads(r.config["job"])["number"]: json.loads(r.metrics["outcome"]) for r in results}
    assert [number for number, outcome in found.items() if not outcome.get("reason")] == [0, 1, 2, 4]
    assert found[3]["reason"] == "a worker was lost twice: it said nothing for 3 s"
    assert found[0]["pid"] == found[1]["pid"]  # slow, but not for too long; and starting a group is no silence


def test_a_killed_lane_costs_its_trial_nothing(ray_cluster, tmp_path):
    text = toy.SPEC.replace("concurrent_trials = 2", "concurrent_trials = 1").replace("trials = 8", "trials = 3")
    store, lines = Store(tmp_path / "study", ["toy"]), []
    plan = toy.plan(text, journal=str(tmp_path / "journal"), kills_lane=0)
    outcome = tune_study(plan, store, lines.append)
    assert {row["trial"]: row["status"] for row in outcome.rows} == dict.fromkeys(range(3), "finished")
    assert Counter((tmp_path / "journal").read_text().split()) == {"0": 2, "1": 1, "2": 1}


def test_rows_wait_for_a_storage_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("search.store.PAUSES_S", (0.01, 0.02, 0.03))
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
    monkeypatch.setattr("search.store.PAUSES_S", (0.01,))
    with pytest.raises(StillhouseError, match="the server does not answer"):
        store.write_part("reports", 1, [{"trial": 1, "step": 1}])
    assert len(calls) == 2


def test_ray_client_is_refused_with_the_command_that_works():
    with pytest.raises(StillhouseError, match=r"ray job submit .* python -m search.cli run SPEC DIR --address auto"):
        join("ray://head:10001")


@pytest.fixture
def two_nodes(tmp_path):
    """`ray start` twice, on loopback, closed by a token, without our packages on their path; (address, second node)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mark = f"{tmp_path.name}-{os.getpid()}"
    environment = {
        **os.environ, **toy.ENVIRONMENT, "PYTHONPATH": str(ROOT / "tests/search"), "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32), "STILLHOUSE_TEST_MARK": mark, "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block", "--num-cpus=1",
           "--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]  # fmt: skip
    started = []

    def start(*arguments):
        with open(tmp_path / f"node{len(started)}.txt", "w") as log:
            started.append(subprocess.Popen(
                [*ray, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True
            ))  # fmt: skip

    start("--head", f"--port={port}", "--include-dashboard=false")
    deadline = time.time() + 60
    while socket.socket().connect_ex(("127.0.0.1", port)) and time.time() < deadline:
        time.sleep(0.2)
    start(f"--address=127.0.0.1:{port}")
    yield f"127.0.0.1:{port}", started[1], environment
    for process in started:
        kill_group(process)
    while (left := marked(mark)) and time.time() < deadline + 120:
        time.sleep(0.2)
    assert not left


def kill_group(process):
    """SIGKILL for a node: `ray start --block` and all that it started."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == process.pid:
                os.kill(int(entry.name), signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(30)


def test_a_joined_cluster_runs_our_code_and_may_lose_a_node(two_nodes, tmp_path):
    address, node, environment = two_nodes
    folder, store = tmp_path / "study", Store(tmp_path / "study", ["toy"])
    command = [
        sys.executable, str(ROOT / "tests/search/toy.py"), str(folder), str(tmp_path / "journal"), "0.4", address
    ]  # fmt: skip
    ours = {**environment, "PYTHONPATH": toy.ENVIRONMENT["PYTHONPATH"]}

    def driver(without=()):
        kept = {name: value for name, value in ours.items() if name not in without}
        return subprocess.Popen(
            command, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def wait_for(process, trials):
        deadline = time.time() + 120
        while len(store.parts("trials")) < trials and process.poll() is None and time.time() < deadline:
            time.sleep(0.05)

    process = driver()
    wait_for(process, 1)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
    output, _ = process.communicate(timeout=60)
    assert f"To go on: stillhouse resume {folder}" in output, output
    process = driver()
    wait_for(process, len(store.parts("trials")) + 1)
    kill_group(node)
    output, _ = process.communicate(timeout=200)
    rows = store.read_rows("trials")
    assert [row["trial"] for row in rows] == list(range(8)), output
    assert {row["status"] for row in rows} == {"finished"}, [row["reason"] for row in rows]
    modules = set((tmp_path / "journal.modules").read_text().split())
    assert modules and all(re.search(r"/runtime_resources/py_modules_files/", path) for path in modules), modules
    runs = Counter((tmp_path / "journal").read_text().split())
    assert set(runs) == {str(trial) for trial in range(8)} and sum(runs.values()) <= 8 + 2 + 2
