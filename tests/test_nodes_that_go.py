"""Nodes that are lost, that join and that are told to go, while targets are written and while trials run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from nodes_apart import LIMIT_S, NodesApart, until

from search.store.parts import Store

FIRST = "train-plain/0"
"""The shard whose node is lost."""
ROOT = Path(__file__).parents[1]
TRIALS = toy.SPEC.replace("trials = 8", "trials = 3").replace("[cluster]\nconcurrent_trials = 2", "[cluster]")


@pytest.fixture
def nodes(tmp_path, bucket):
    """A head that runs nothing, and two nodes of one CPU."""
    variables = {"STILLHOUSE_TEST_JOURNAL": str(tmp_path / "journal")}
    nodes = NodesApart(tmp_path, f"{bucket}/{tmp_path.name}/cache", **variables)
    for cpus in (0, 1, 1):
        nodes.add(cpus)
    yield nodes
    nodes.end()


def driver(nodes, script, *arguments):
    """A driver beside the nodes."""
    return subprocess.Popen(
        [sys.executable, ROOT / "tests/search" / script, *arguments], env=nodes.driver(), cwd=nodes.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_targets_are_written_however_many_nodes_are_lost(nodes):
    journal = nodes.folder / "journal"
    run = driver(nodes, "write_targets.py", nodes.address)

    def begun(shard):
        """Numbers of the nodes that have begun a shard, in their order."""
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [int(home[-1]) for each, home in map(str.split, lines) if each == shard]

    def is_begun(times):
        assert run.poll() is None, run.communicate()[0]
        return len(begun(FIRST)) == times

    for times in (1, 2):
        until(lambda times=times: is_begun(times))
        nodes.lose(nodes.started[begun(FIRST)[-1] - 1])
    nodes.add()
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0 and "13 shards written" in output, output
    assert begun(FIRST) in ([2, 3, 4], [3, 2, 4])


def test_a_node_that_is_told_to_go_hands_its_trial_on(nodes):
    journal, study = nodes.folder / "notes", nodes.folder / "study"
    orders = {"address": nodes.address, "spec": TRIALS, "journal": str(journal), "step_s": 0.3}
    run = driver(nodes, "toy.py", study, json.dumps(orders | {"function": "fake_trials:leaving_trial"}))

    def notes(**wanted):
        assert run.poll() is None, run.communicate()[0]
        lines = journal.read_text().splitlines() if journal.exists() else []
        found = [json.loads(line) for line in lines]
        return [each for each in found if all(each.get(key) == value for key, value in wanted.items())]

    until(lambda: notes(home=str(nodes.folder / "node2")) and notes(home=str(nodes.folder / "node3")))
    nodes.tell(nodes.started[2])
    left = until(lambda: [each for each in notes() if "left" in each])[0]
    assert left["home"].endswith("node3")
    nodes.started[2].wait(LIMIT_S)
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, output
    starts = [json.loads(line) for line in journal.read_text().splitlines()]
    own = [each for each in starts if each["trial"] == left["trial"] and "begun" in each]
    assert [Path(each["home"]).name for each in own] == ["node3", "node2"]
    assert own[1]["begun"] == left["left"]
    assert {row["status"] for row in Store(study, ["toy"]).read_rows("trials")} == {"finished"}
