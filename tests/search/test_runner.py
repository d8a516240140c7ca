"""Whole studies on real Ray processes with trials that are formulas: killed, stopped, resumed, refused."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import fake_trials
import pytest
import toy

from search.cluster import cluster, lanes
from search.runner import ask_tell, job_maker, leading, refuse_other_study, tune_study
from search.sections import ClusterSection
from search.spec import to_toml
from search.store import Store
from spaces.errors import SpecError, StillhouseError
from spaces.records import OBJECTIVES

LOOPBACK_MAPPED, LOOPBACK_6 = "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def drive(tmp_path):
    """Start toy.py on a folder, signal it once enough trials are done, and wait until all of it is gone."""
    mark = f"{tmp_path.name}-{os.getpid()}"

    def run(folder, number, trials, step_s=0.3):
        environment = {**os.environ, **toy.ENVIRONMENT, "STILLHOUSE_TEST_MARK": mark}
        command = [
            sys.executable,
            str(ROOT / "tests/search/toy.py"),
            str(folder),
            str(tmp_path / "journal"),
            str(step_s),
        ]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        store = Store(folder, ["toy"])
        deadline = time.time() + 240
        while len(store.parts("trials")) < trials and process.poll() is None and time.time() < deadline:
            time.sleep(0.05)
        ports = [] if process.poll() is not None else listening(mark)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert len(store.parts("trials")) >= trials, output
        assert len(ports) > 3 and not exposed(ports), ports
        while (left := marked(mark)) and time.time() < deadline:
            time.sleep(0.2)
        assert not left, left
        return process.returncode, output

    return run


def marked(mark):
    """Process id -> command line of the processes that carry the mark in their environment."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes() and (entry / "cmdline").read_bytes():
                found[entry.name] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def listening(mark):
    """(address in hexadecimal, command line) of every listening TCP socket of the marked processes."""
    owners = {}
    for pid, command in marked(mark).items():
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                owners[os.readlink(descriptor)] = command
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    found = [(row[1].rpartition(":")[0], f"socket:[{row[9]}]") for row in rows if row[3] == "0A"]
    return [(address, owners[socket]) for address, socket in found if socket in owners]


def exposed(ports):
    """Those that another machine could reach. The kernel writes addresses as little-endian words: 0100007F."""
    return [port for port in ports if port[0] not in ("0100007F", LOOPBACK_MAPPED, LOOPBACK_6)]


def test_stopped_killed_and_resumed_nothing_is_lost_or_repeated(drive, ray_cluster, tmp_path):
    folder = tmp_path / "study"
    code, output = drive(folder, signal.SIGTERM, 2)
    assert code == 0 and f"To go on: stillhouse resume {folder}" in output
    done = Counter(row["trial"] for row in Store(folder, ["toy"]).read_rows("trials"))
    code, _ = drive(folder, signal.SIGKILL, len(done) + 1)
    assert code == -signal.SIGKILL
    store = Store(folder, ["toy"])
    before = {row["trial"]: row for row in store.read_rows("trials")}
    unfinished = {row["trial"] for row in store.unfinished()}
    assert 2 <= len(before) < 8
    lines = []
    text = f'{toy.SPEC}[logging]\ncallbacks = ["tensorboard"]\n'
    plan = toy.plan(text, journal=str(tmp_path / "journal"), failing_width=96, nan_width=192)
    outcome = tune_study(plan, store, lines.append)
    assert outcome.ended == "the budget of 8 trials is spent"
    rows = {row["trial"]: row for row in store.read_rows("trials")}
    assert sorted(rows) == list(range(8))
    assert all(rows[trial] == row for trial, row in before.items())
    assert f"{len(before)} trials done before, {len(unfinished)} to be run again" in lines[0]
    runs = Counter(int(line) for line in (tmp_path / "journal").read_text().split())
    assert set(runs) == set(range(8))
    assert sum(runs.values()) <= 8 + 2  # each of the two ends cost at most the one trial that was running
    for row in (row for trial, row in rows.items() if trial not in before):
        reason = {96: "ValueError: this width", 192: "quality is not a finite number (nan)"}.get(row["hidden_size"], "")
        assert row["status"] == ("failed" if reason else "finished")
        assert row["reason"].startswith(reason) and bool(row["reason"]) == bool(reason)
        assert row["parameters"] > 0 and row["start_up_s"] >= 0 and row["started_at"].year >= 2024
    reports = Counter(row["trial"] for row in store.read_rows("reports"))
    assert set(reports.values()) == {3}
    logged = {path.parent.name for path in (folder / "tensorboard").glob("*/events.out.tfevents.*")}
    assert logged == {f"{trial:05d}" for trial in set(range(8)) - set(before)}
    assert json.loads(store.read_text("study.json"))["name"] == "toy"
    # The same spec on the finished folder has nothing to do, and a larger budget goes on.
    more, _ = toy.read(toy.SPEC.replace("trials = 8", "trials = 9"))
    refuse_other_study(store, more)


def test_weak_trials_are_stopped_at_rungs_and_may_be_promoted(ray_cluster, tmp_path):
    text = toy.SPEC.replace("[space]", "[rungs]\nfirst_tokens = 100_000\nfactor = 2\n[space]").replace(
        "concurrent_trials = 2", "concurrent_trials = 1"
    )
    store, lines = Store(tmp_path / "study", ["toy"]), []
    outcome = tune_study(toy.plan(text, journal=str(tmp_path / "journal")), store, lines.append)
    assert outcome.ended == "the budget of 8 trials is spent"
    rows = {row["trial"]: row for row in store.read_rows("trials")}
    assert sorted(rows) == list(range(8))
    stopped = [row for row in rows.values() if row["status"] == "stopped"]
    assert stopped and f"{len(stopped)} stopped" in lines[-1]
    reports = Counter(row["trial"] for row in store.read_rows("reports"))
    for row in stopped:
        assert row["rung"] == reports[row["trial"]] == row["train_tokens"] // 100_000 < 3
        assert row["score_toy"] and row["started_at"].year >= 2024
    assert all(reports[row["trial"]] == 3 for row in rows.values() if row["status"] == "finished")
    # In one lane Tune adds nothing: the same trials run and end in the same order without it.
    plan = toy.plan(text, journal=str(tmp_path / "journal2"))
    alone = ask_tell(plan, Store(tmp_path / "alone", ["toy"]), print)
    make_job = job_maker(plan, alone.store, lambda trial: None)
    while (ask := alone.ask()) is not None:
        rows = []
        measured = fake_trials.study_trial(make_job(ask), lambda row, ask=ask, rows=rows: rows.append(
            None if any(rows) else alone.report(ask.trial, row)), 0, 1)  # fmt: skip
        if not any(rows):
            alone.tell(ask.trial, measured)
    assert [(r["trial"], r["config_hash"], r["status"]) for r in alone.progress.rows] == [
        (r["trial"], r["config_hash"], r["status"]) for r in outcome.rows
    ]


def test_leaders_hold_up_the_front():
    rows = [
        {"trial": t, "status": "finished", "method": f"method {t}", "quality": q, "parameters": p}
        for t, (q, p) in enumerate([(0.5, 10), (0.501, 14), (0.9, 30), (0.4, 40)])
    ]
    objectives = [OBJECTIVES["quality"], OBJECTIVES["parameters"]]
    assert {row["trial"] for row in leading(rows, objectives, 2)} == {0, 2}
    assert len(leading(rows, objectives, 9)) == 3


def test_a_folder_of_another_study_is_refused(tmp_path):
    store = Store(tmp_path, ["toy"])
    spec, _ = toy.read()
    store.write_text("spec.toml", to_toml(spec))
    refuse_other_study(store, spec)
    other, _ = toy.read(toy.SPEC.replace("[96, 192, 384]", "[96, 192]"))
    with pytest.raises(
        StillhouseError, match=r"space.hidden_size: \[96, 192, 384\] in the study, \[96, 192\] in the spec"
    ):
        refuse_other_study(store, other)


def test_what_does_not_fit_is_refused_with_the_numbers(ray_cluster, tmp_path):
    assert lanes(ClusterSection(2, 1, 1, 0.0)) == 2
    assert lanes(ClusterSection(1, 2, 1, 0.0)) == 1
    assert lanes(ClusterSection(None, 1, 1, 0.0)) == 2
    assert lanes(ClusterSection(None, 2, 1, 0.0)) == 1
    started = time.time()
    with (
        pytest.raises(SpecError, match="1 node with 2 CPUs, 0 GPUs; concurrent_trials can be at most 2"),
        cluster(ClusterSection(3, 1, 1, 0.0), None, tmp_path / "log.txt"),
    ):
        pass
    with pytest.raises(SpecError, match="not even one trial fits"):
        lanes(ClusterSection(None, 1, 1, 1.0))
    with pytest.raises(SpecError, match="not even one trial fits"):
        lanes(ClusterSection(1, 1, 3, 0.0))
    assert time.time() - started < 60
