"""A whole study on an S3 server: written, read, resumed, exported; several processes at once."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fake_trials
import pyarrow.fs as pafs
import pytest
import toy
from fake_studies import add_reports, finished_row, write_study

from search.cli.main import main
from search.store.parts import Store, now
from search.tune.tuning import ask_tell, job_maker, tune_study
from spaces.records.filesystems import copy_folder, open_filesystem
from trainables.lanes.messages import TrialOutcome
from trainables.models.teacher import load_teacher

ROOT = Path(__file__).parents[3]
EMBEDDED = ROOT / "trainables/embedded_teacher"
WRITER = """
import sys
from search.store.parts import Store, now
store, parity = Store(sys.argv[1], ["toy"]), int(sys.argv[2])
for version in range(6):
    for trial in (parity, 2 + 2 * version + parity):
        store.write_part("asked", trial, [{"trial": trial, "config_hash": str(version),
                                           "config": str(row), "seed": 0, "asked_at": now()} for row in range(300)])
"""


def test_two_writers_and_a_reader_who_never_sees_half_a_file(bucket, tmp_path):
    folder = f"{bucket}/{tmp_path.name}/written"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, folder, parity], env=environment) for parity in ("0", "1")
    ]
    store, looks = Store(folder, ["toy"]), 0
    while any(writer.poll() is None for writer in writers):
        check_whole(store.read_rows("asked"))
        looks += 1
        time.sleep(0.1)  # the server is in this process: without a pause the writers would wait for the reader
    assert [writer.wait() for writer in writers] == [0, 0] and looks > 3
    rows = store.read_rows("asked")
    check_whole(rows)
    assert {row["trial"] for row in rows} == set(range(14))
    assert {row["config_hash"] for row in rows if row["trial"] in (0, 1)} == {"5"}  # replaced by the last version


def check_whole(rows):
    """Each part has all of its rows, of one version."""
    parts = {}
    for row in rows:
        parts.setdefault(row["trial"], []).append(row)
    for part in parts.values():
        assert [row["config"] for row in part] == [str(number) for number in range(300)]
        assert len({row["config_hash"] for row in part}) == 1


@pytest.fixture
def no_sigterm():
    """Should it come when nobody waits for it any more, the tests go on."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("kind", ["bucket", "gs_bucket"])
def test_a_study_is_resumed_stopped_and_resumed(kind, request, ray_cluster, no_sigterm, tmp_path):
    bucket = request.getfixturevalue(kind)
    folder = f"{bucket}/{tmp_path.name}/toy"
    text = toy.SPEC.replace("trials = 8", "trials = 5").replace("concurrent_trials = 2", "concurrent_trials = 1")
    journal = tmp_path / "journal"
    plan = toy.plan(text, journal=str(journal))
    # A first driver ends after two trials, while a third one runs.
    first = ask_tell(plan, Store(folder, ["toy"]), print)
    make_job = job_maker(plan, first.history, lambda trial: None)
    for _ in range(2):
        job = make_job(first.ask())
        assert job.folder.startswith(f"{bucket}/") and job.student_folder.startswith(f"{bucket}/")
        first.tell(job.trial, fake_trials.study_trial(job, lambda row: None, 0, 1))
    first.ask()
    before = Store(folder, ["toy"]).read_rows("trials")
    lines, store = [], Store(folder, ["toy"])
    store.write_text("checkpoints/00002/checkpoint.safetensors", "of the interrupted trial")
    orders = {"step_s": 0.5, "driver": os.getpid(), "ends_driver": [3, 2]}
    with store.locked():
        outcome = tune_study(toy.plan(text, journal=str(journal), **orders), store, lines.append)
    assert "2 trials done before, 1 to be run again" in lines[0]
    assert not outcome.ended and lines[-1].startswith("stopped: 3 finished, 0 failed")
    assert lines[-1].endswith(f"To go on: stillhouse resume {folder}")
    rows = store.read_rows("trials")
    assert [row["trial"] for row in rows] == [0, 1, 2] and rows[:2] == before
    assert {row["trial"] for row in store.read_rows("reports")} == {2}
    assert not store.exists("checkpoints/00002/checkpoint.safetensors") and not store.exists("lease.json")
    assert [row["trial"] for row in toy.tuned_alone(plan, Store(folder, ["toy"]))] == [0, 1, 2, 3, 4]
    assert [json.loads(line)["trial"] for line in journal.read_text().splitlines()] == [0, 1, 2, 3, 3, 4]


@pytest.fixture(params=["bucket", "gs_bucket"])
def remote(request, tmp_path):
    """A study of three trials, with the embedded teacher for each student."""
    bucket = request.getfixturevalue(request.param)
    rows = [finished_row(trial, 0.5 + trial / 10, (2 + trial, 128)) for trial in range(3)]
    local = write_study(tmp_path / "study", rows)
    add_reports(local, rows)
    spec, _ = toy.read()
    (local / "spec.toml").write_text(toy.to_toml(spec))
    uri = f"{bucket}/{tmp_path.name}/study"
    filesystem, path = open_filesystem(uri)
    copy_folder(pafs.LocalFileSystem(), str(local), filesystem, path)
    for row in rows:
        copy_folder(pafs.LocalFileSystem(), str(EMBEDDED), filesystem, f"{path}/{row['student_path']}")
        asked = {
            "trial": row["trial"],
            "config_hash": row["config_hash"],
            "config": '{"method": "mha"}',
        }
        Store(uri).write_part("asked", row["trial"], [{**asked, "seed": 0, "asked_at": now()}])
    return uri


def test_everything_that_shows_a_study_reads_it_there(remote, tmp_path, capsys):
    assert main(["front", remote, "--json"]) == 0
    assert [row["trial"] for row in json.loads(capsys.readouterr().out)] == [0, 1, 2]
    assert main(["best", remote, "--max-parameters", "4.6M", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trial"] == 1
    assert main(["report", remote]) == 0
    filesystem, path = open_filesystem(remote)
    with filesystem.open_input_stream(f"{path}/report.html") as page:
        assert page.read().startswith(b"<!DOCTYPE html>")
    assert main(["export", remote, str(tmp_path / "student"), "--trial", "2"]) == 0
    assert load_teacher(str(tmp_path / "student")).facts.architecture == load_teacher(str(EMBEDDED)).facts.architecture
    assert "quick-00002" in (tmp_path / "student/README.md").read_text()


@pytest.mark.parametrize("kind", ["bucket", "gs_bucket"])
def test_a_student_and_its_checkpoints_are_uploaded(kind, request, tmp_path, monkeypatch):
    import trainables.lanes.trial
    from trainables.training.checkpoint import fetch, upload

    def run_local(job, report, rank, world_size):
        file = Path(job.folder) / trainables.lanes.trial.CHECKPOINT
        fetch(job.checkpoint_copy, file)
        assert file.is_file() == (len(runs) == 1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 7_000_000)  # more than one part of an upload
        upload(file, job.checkpoint_copy)
        (Path(job.student_folder) / "deep").mkdir(parents=True)
        (Path(job.student_folder) / "deep/model.safetensors").write_bytes(b"weights")
        runs.append(job.trial)
        return TrialOutcome(student_path="students/00003")

    runs = []
    monkeypatch.setattr(trainables.lanes.trial, "run_local", run_local)
    store = Store(f"{request.getfixturevalue(kind)}/{tmp_path.name}/uploads")
    folders = {"folder": store.uri("checkpoints", "00003"), "student_folder": store.uri("students", "00003")}
    job = replace(toy.plan().job, trial=3, **folders)
    for _ in range(2):  # the second time on another node, so to speak
        assert trainables.lanes.trial.run_trial(job, print).student_path == "students/00003"
    assert store.size_bytes("checkpoints", "00003") == 7_000_000
    assert store.read_text("students/00003/deep/model.safetensors") == "weights"
    assert store.folders("students") == store.folders("checkpoints") == ["00003"]
    for name in ("students", "nothing"):
        store.remove(name)
    assert store.folders("students") == [] and store.folders("checkpoints") == ["00003"]
