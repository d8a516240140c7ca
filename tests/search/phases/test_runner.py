"""Whole studies on real Ray processes with trials that are formulas: killed, resumed, refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import toy
from processes import exposed, listening, marked

from search.phases.runner import refuse_other_study
from search.spec.writing import to_toml
from search.store.parts import Store
from search.tune.tuning import tune_study
from spaces.errors import StillhouseError

ROOT = Path(__file__).parents[3]
RUNGS = (
    toy.SPEC.replace("[space]", "[rungs]\nfirst_tokens = 100_000\nfactor = 2\n[space]")
    .replace("concurrent_trials = 2", "concurrent_trials = 1")
    .replace("seed = 5", "seed = 4")
    .replace("[cluster]", "[search]\nschedule = 'halving'\n[cluster]")
    .replace(
        "[space]\n", "[space]\nmapping = ['held', 'last', 'uniform', 'last_k', 'uniform_consecutive', 'uniform_last']\n"
    )
)
"""Trials of this study finish, fail, are stopped, and are promoted twice over."""
SOONER_GONE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
"""What a killed driver leaves behind looks for its cluster so long before it ends, instead of a minute."""
ODD = {"failing_width": 96, "nan_width": 192}


@pytest.fixture
def drive(tmp_path):
    """Start toy.py on a folder, kill it once enough trials are done, and wait until all of it is gone."""
    mark = f"{tmp_path.name}-{os.getpid()}"

    def run(folder, trials):
        options = {"spec": RUNGS, "journal": str(tmp_path / "journal"), "step_s": 0.3, **ODD}
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/search/toy.py"), str(folder), json.dumps(options)],
            env={**os.environ, **toy.ENVIRONMENT, "STILLHOUSE_TEST_MARK": mark, **SOONER_GONE},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        store, deadline = Store(folder, ["toy"]), time.time() + 240
        while len(store.numbers("trials")) < trials and process.poll() is None and time.time() < deadline:
            time.sleep(0.1)
        ports = [] if process.poll() is not None else listening(mark)
        process.kill()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL and len(store.numbers("trials")) >= trials, output
        assert len(ports) > 3 and not exposed(ports), ports
        while (left := marked(mark)) and time.time() < deadline:
            time.sleep(0.2)
        assert not left, left

    return run


def test_killed_a_study_comes_to_the_end_of_an_undisturbed_one(drive, ray_cluster, tmp_path):
    folder, store = tmp_path / "study", Store(tmp_path / "study", ["toy"])
    drive(folder, 2)
    before = {row["trial"]: row for row in store.read_rows("trials")}
    assert 2 <= len(before) < 8
    unfinished, lines = (
        {*store.numbers("asked")} - {*store.numbers("trials")},
        [],
    )
    text = f'{RUNGS}[logging]\ncallbacks = ["tensorboard"]\n'
    plan = toy.plan(text, journal=str(tmp_path / "journal"), kills_lane=7, **ODD)
    outcome = tune_study(plan, store, lines.append)
    assert outcome.ended == "the budget of 8 trials is spent"
    assert f"{len(before)} trials done before, {len(unfinished)} to be run again" in lines[0]
    rows = {row["trial"]: row for row in store.read_rows("trials")}
    assert sorted(rows) == list(range(8))
    assert all(rows[trial] == row for trial, row in before.items() if row["status"] != "stopped")
    counts = Counter(row["status"] for row in rows.values())
    assert set(counts) == {"finished", "stopped", "failed"} and f"{counts['stopped']} stopped" in lines[-1]
    reports = Counter(row["trial"] for row in store.read_rows("reports"))
    for row in rows.values():
        reason = {96: "ValueError: this width", 192: "quality is not a finite number (nan)"}.get(row["hidden_size"], "")
        if row["status"] == "stopped":
            assert row["rung"] == reports[row["trial"]] == row["train_tokens"] // 100_000 < 3 and row["score_toy"]
        else:
            assert row["status"] == ("failed" if reason else "finished") and reports[row["trial"]] == 3
            assert row["reason"].startswith(reason) and bool(row["reason"]) == bool(reason) and row["start_up_s"] >= 0
        assert row["parameters"] > 0 and row["started_at"].year >= 2024
    logged = {path.parent.name for path in (folder / "tensorboard").glob("*/events.out.tfevents.*")}
    assert logged and logged <= {f"{trial:05d}" for trial in range(8)}
    assert json.loads(store.read_text("study.json"))["name"] == "toy"
    # Without a kill, and without Tune, the same trials are asked and end in the same way.
    alone = toy.plan(RUNGS, journal=str(tmp_path / "alone.journal"), **ODD)
    assert endings(rows.values()) == endings(toy.tuned_alone(alone, Store(tmp_path / "alone", ["toy"])))
    journal = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert [entry["step"] for entry in journal if entry["trial"] == 7][-1] == 1  # it lost its lane, not its step
    # The end of the driver, and that of a lane, cost at most the one trial that was running.
    starts, fewest = starts_of(tmp_path / "journal"), starts_of(tmp_path / "alone.journal")
    assert len(fewest) > 8 + 1  # some were promoted
    assert set(starts) == set(fewest) == set(range(8)) and len(starts) <= len(fewest) + 2
    # The same spec on the finished folder has nothing to do, and a larger budget goes on.
    more, _ = toy.read(RUNGS.replace("trials = 8", "trials = 9"))
    refuse_other_study(store, more)


def starts_of(journal):
    """The trials in the order in which they were started."""
    return [json.loads(line)["trial"] for line in journal.read_text().splitlines()]


def endings(rows):
    """What became of each trial, as text, for NaN is not equal to itself."""
    columns = ("trial", "config_hash", "status", "rung", "reason", "score_toy")
    return [str([row[column] for column in columns]) for row in rows]


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
