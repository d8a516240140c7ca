"""Nodes that are lost, that join and that are told to go, while a corpus is cut, targets are written and trials run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from nodes_apart import LIMIT_S, NodesApart, until

from search.store.parts import Store

ROOT = Path(__file__).parents[1]
FIRST = "train-plain/0"
"""The shard whose node is lost."""
TRIALS = toy.SPEC.replace("trials = 8", "trials = 2").replace("[cluster]\nconcurrent_trials = 2", "[cluster]")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, bucket):
    """A head that runs nothing; `workers` come and go."""
    folder = tmp_path_factory.mktemp("nodes")
    nodes = NodesApart(folder, f"{bucket}/{folder.name}/cache", STILLHOUSE_TEST_JOURNAL=str(folder / "shards"))
    nodes.add(cpus=0)
    yield nodes
    nodes.end()


def workers(nodes):
    """Two nodes of one CPU, by their numbers."""
    while len(found := [place for place, node in enumerate(nodes.started) if place and node.poll() is None]) < 2:
        nodes.add()
    return found


def driver(nodes, script, *arguments):
    """A driver beside the nodes."""
    return subprocess.Popen(
        [sys.executable, ROOT / "tests/search" / script, *arguments], env=nodes.driver(), cwd=nodes.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def place_of(home):
    """The number of the node with this home folder."""
    return int(Path(home).name.removeprefix("node")) - 1


def test_a_node_that_is_told_to_go_hands_its_trial_on(nodes):
    journal, study, (stays, goes) = nodes.folder / "trials", nodes.folder / "study", workers(nodes)
    orders = {"address": nodes.address, "spec": TRIALS, "journal": str(journal), "step_s": 0.2}
    run = driver(nodes, "toy.py", study, json.dumps(orders | {"function": "fake_trials:leaving_trial"}))

    def notes(kind):
        """(trial, step, place) of what trials noted so far."""
        assert is_over or run.poll() is None, run.communicate()[0]
        lines = journal.read_text().splitlines() if journal.exists() else []
        found = [json.loads(line) for line in lines]
        return [(each["trial"], each[kind], place_of(each["home"])) for each in found if kind in each]

    is_over = False
    until(lambda: {place for _, _, place in notes("begun")} == {stays, goes})
    nodes.tell(nodes.started[goes])
    # A lane on that node hands its trial on as well where its worker is on the other.
    (trial, step, _), *_ = until(lambda: [each for each in notes("left") if each[2] == goes])
    nodes.started[goes].wait(LIMIT_S)
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, output
    is_over = True
    assert [each for each in notes("begun") if each[0] == trial] == [(trial, 0, goes), (trial, step, stays)]
    assert {row["status"] for row in Store(study, ["toy"]).read_rows("trials")} == {"finished"}


def test_targets_are_written_however_many_nodes_are_lost(nodes):
    journal, both = nodes.folder / "shards", workers(nodes)
    run = driver(nodes, "write_targets.py", nodes.address)

    def begun():
        """Where the first shard was begun."""
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [place_of(home) for shard, home in map(str.split, lines) if shard == FIRST]

    def is_begun(times):
        assert run.poll() is None, run.communicate()[0]
        return len(begun()) == times

    for times in (1, 2):
        until(lambda times=times: is_begun(times))
        nodes.lose(nodes.started[begun()[-1]])
    nodes.add()
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0 and "13 shards written" in output, output
    assert sorted(begun()[:2]) == both and begun()[2:] == [len(nodes.started) - 1]


def test_a_corpus_is_cut_to_the_same_bytes_by_nodes_of_which_one_is_lost(nodes):
    journal, both = nodes.folder / "shards", workers(nodes)
    journal.unlink(missing_ok=True)
    run = driver(nodes, "cut_corpus.py", nodes.address)

    def begun():
        """(what, place) of each shard that was begun."""
        assert is_over or run.poll() is None, run.communicate()[0]
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [(shard, place_of(home)) for shard, home in map(str.split, lines)]

    is_over = False
    lost = until(lambda: [place for shard, place in begun() if shard == "all/3"])[0]
    nodes.lose(nodes.started[lost])
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, output
    is_over = True
    assert "text, cut by 2 workers of the cluster" in output and output.count("of the cluster") == 3, output
    found = [shard for shard, place in begun() if shard.startswith("all/")]
    assert set(found) == {f"all/{number}" for number in range(len(set(found)))} and len(set(found)) > 6
    assert [shard for shard in set(found) if found.count(shard) > 1] == ["all/3"]  # the others are there already
    for name in ("some", "stored"):
        assert {place for shard, place in begun() if shard.startswith(f"{name}/")} == {*both} - {lost}
