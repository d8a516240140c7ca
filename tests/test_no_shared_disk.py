"""Two nodes and a driver with nothing in common but an S3 server: targets, rungs, a node that is lost, a resume."""

import subprocess
import sys
from pathlib import Path

import pytest
from docstring_task import write_docstring_task
from nodes_apart import LIMIT_S, NodesApart, until

from search.store.parts import Store

ROOT = Path(__file__).parents[1]
BUDGET, STEP = 150_000, 32 * 8
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
"""
"""Under freeze_thaw, the default: checkpoints of paused trials go home with the node that wrote them."""


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
    """Two nodes with a home folder each."""
    nodes = NodesApart(tmp_path, f"{bucket}/{tmp_path.name}/cache")
    for _ in range(2):
        nodes.add()
    yield nodes
    nodes.end()


def cache_of(folder):
    """{kind: keys} of a node's copies."""
    base = folder / ".cache/stillhouse"
    return {kind.name: {key.name for key in kind.iterdir()} for kind in base.iterdir() if kind.is_dir()}


def test_nodes_that_share_no_disk_run_lose_and_resume_a_study(nodes, data, bucket):
    environment = nodes.driver()
    study = f"{bucket}/{data.name}/study"
    command = [sys.executable, "-m", "search.cli"]
    run = subprocess.Popen(
        [*command, "run", "spec.toml", study, "--address", nodes.address], env=environment, cwd=data, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    store = Store(study, ["origin"])
    both = [data / name / ".cache/stillhouse/targets" for name in ("node1", "node2")]
    until(lambda: run.poll() is not None or all(folder.is_dir() for folder in both))  # both nodes train
    nodes.lose(nodes.started[1])
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, output
    rows = store.read_rows("trials")
    assert len(rows) >= 3 and {row["status"] for row in rows} <= {"finished", "stopped"}
    assert {row["trial"] for row in store.read_rows("decisions")} <= {row["trial"] for row in rows}
    spent = sum(row["train_tokens"] for row in rows)
    assert 2 * BUDGET < spent <= 3 * BUDGET + STEP * len(rows)
    first, second, driver = (cache_of(data / name) for name in ("node1", "node2", "driver"))
    assert first["corpora"] == second["corpora"] == driver["corpora"] and first["tasks"] == driver["tasks"]
    assert first["targets"] == second["targets"] and first["teachers"] == second["teachers"]
    assert "teachers" not in driver
    # What the driver has prepared is gone, and comes from home as it does for others.
    (data / "driver/.cache/stillhouse").rename(data / "driver/gone")
    more = subprocess.run(
        [*command, "resume", study, "--address", nodes.address, "--set", "budget.trials=4"], env=environment, cwd=data,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
    )  # fmt: skip
    assert more.returncode == 0, more.stdout
    assert "teacher targets: cached before" in more.stdout, more.stdout
    rows = store.read_rows("trials")
    assert spent < sum(row["train_tokens"] for row in rows) <= 4 * BUDGET + STEP * len(rows)
    assert {row["status"] for row in rows} <= {"finished", "stopped"}
