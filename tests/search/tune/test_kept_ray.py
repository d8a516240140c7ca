"""The Ray of `stillhouse up`: found, used by one study at a time, refused with the reason, and ended with all of it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from processes import exposed, listening, marked

from search.tune.environment import ROOT
from search.tune.kept_ray import ALIVE, RECORD, USED, KeptRay, alike, differences, hold, kept_folder, take
from spaces.values import to_json

MARK = f"kept ray {os.getpid()}"
DRIVER = """
import os, sys
from pathlib import Path
from search.cli.running import driver_at
driver = driver_at(None)
import ray
from search.tune.cluster import cluster
from trainables.lanes.settings import ClusterSpec

def where():
    import trainables
    return trainables.__file__, os.environ["STILLHOUSE_CACHE"]

with cluster(ClusterSpec(1, 1, 1, 0.0), driver.address, Path(sys.argv[1]), driver.kept):
    print("address", ray.get_runtime_context().gcs_address)
    print("worker", *ray.get(ray.remote(where).remote()), flush=True)
    sys.stdin.read()
"""
LOOKS = """
from search.tune.environment import import_everywhere, quiet_environment
from search.tune.kept_ray import take
quiet_environment()
import_everywhere()
print(take(print) is None)
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    kept_folder().mkdir(parents=True)
    return tmp_path / "cache"


def written(**changes):
    """A record, and the lock of a process that keeps it: ours."""
    kept = replace(KeptRay("127.0.0.1:1", "secret", os.getpid(), 2, 60.0, alike()), **changes)
    (kept_folder() / RECORD).write_text(to_json(kept))
    return kept


def test_nothing_is_said_where_none_was(cache):
    lines = []
    assert take(lines.append) is None and not lines


def test_one_whose_process_has_gone_is_told_of_once(cache):
    written()
    lines = []
    assert take(lines.append) is None and take(lines.append) is None
    assert lines == ["the Ray of `stillhouse up` has gone: this run starts its own"]


def test_one_process_at_a_time(cache):
    kept, lines = written(), []
    keeper = hold(kept_folder() / ALIVE)
    user = hold(kept_folder() / USED)
    assert take(lines.append) is None
    os.close(user)
    assert take(lines.append) == kept
    os.close(keeper)
    assert f"in use by process {os.getpid()}: this run starts its own" in lines[0]
    assert lines[1] == f"on the Ray of `stillhouse up` (process {os.getpid()}, 2 CPUs)"


def test_other_versions_and_another_environment_are_named(cache, monkeypatch):
    kept = written(alike=alike() | {"ray": "2.0.0"})
    keeper, lines = hold(kept_folder() / ALIVE), []
    assert take(lines.append) is None
    os.close(keeper)
    assert "does not fit (ray 2.0.0, not " in lines[0] and "stillhouse down" in lines[0]
    monkeypatch.setenv("HF_TOKEN", "mine")
    monkeypatch.setenv("TERM", "another")
    assert differences(replace(kept, alike=alike() | {"code": "older"}), alike()) == ["other code"]
    assert "other $HF_TOKEN" in differences(kept, alike())
    assert "mine" not in to_json(replace(kept, alike=alike()))


@pytest.fixture
def environment(tmp_path):
    """Of a user who has set nothing of Ray's, but what makes a start cheap."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return plain | {
        "STILLHOUSE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT), "KEPT_RAY": MARK,
        "RAY_prestart_worker_first_driver": "0", "RAY_worker_niceness": "0",
    }  # fmt: skip


def command(environment, *words):
    done = subprocess.run([sys.executable, "-m", "search.cli", *words], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def gone(until_s=60.0):
    """Whether all processes with the mark end within this time."""
    deadline_s = time.monotonic() + until_s
    while (left := marked(MARK)) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return not left


def test_a_study_uses_it_and_down_leaves_nothing(environment, tmp_path):
    assert command(environment, "down") == (0, "no Ray of `stillhouse up` runs here\n")
    code, text = command(environment, "up", "--cpus", "1")
    assert code == 0 and "Ray is up with 1 CPUs" in text
    assert command(environment, "up")[0] == 1
    (record,) = Path(environment["STILLHOUSE_CACHE"]).glob(f"up/*/{RECORD}")
    kept = json.loads(record.read_text())
    assert record.stat().st_mode & 0o077 == record.parent.stat().st_mode & 0o077 == 0
    assert kept["address"].startswith("127.0.0.1:") and not exposed(listening(MARK))
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "log.txt")], env=environment, cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as driver:  # fmt: skip
        assert driver.stdout.readline() == f"on the Ray of `stillhouse up` (process {kept['process']}, 1 CPUs)\n"
        assert driver.stdout.readline() == f"address {kept['address']}\n"
        assert driver.stdout.readline().split() == [
            "worker", str(ROOT / "trainables/__init__.py"), environment["STILLHOUSE_CACHE"]
        ]  # fmt: skip
        told = subprocess.run([sys.executable, "-c", LOOKS], env=environment, capture_output=True, text=True).stdout
        assert told == f"the Ray of `stillhouse up` is in use by process {driver.pid}: this run starts its own\nTrue\n"
        code, text = command(environment, "down")
        assert code == 1 and f"process {driver.pid} uses the Ray" in text
        driver.stdin.close()
        assert driver.wait(60) == 0
    assert command(environment, "down") == (0, "Ray has ended\n")
    assert gone()


def test_it_ends_by_itself_when_nobody_uses_it(environment):
    assert command(environment, "up", "--cpus", "1", "--idle-minutes", "0.01")[0] == 0
    assert gone()
    told = subprocess.run([sys.executable, "-c", LOOKS], env=environment, capture_output=True, text=True).stdout
    assert told == "the Ray of `stillhouse up` has gone: this run starts its own\nTrue\n"
