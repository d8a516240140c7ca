"""The lane, on real Ray processes with a cheap trial function."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from trainables.worker import LaneSettings, attempt, lane_trainable, loss_of


@pytest.fixture
def run_lane(ray_cluster, tmp_path):
    """Run the acts one after the other on one lane; returns {act number: outcome}."""
    from ray import tune

    def run(acts, num_workers=1):
        jobs = [
            json.dumps({"number": i, "config": {"act": act}, "seed": 3, "folder": str(tmp_path / f"marker{i}")})
            for i, act in enumerate(acts)
        ]
        results = tune.Tuner(
            lane_trainable(LaneSettings("fake_trials:act", num_workers=num_workers)),
            param_space={"job": tune.grid_search(jobs)},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
            run_config=tune.RunConfig(name="lane", storage_path=str(tmp_path / "tune"), verbose=0),
        ).fit()
        assert not results.errors
        return {json.loads(r.config["job"])["number"]: json.loads(r.metrics["outcome"]) for r in results}

    return run


def test_a_lane_survives_what_trials_do(run_lane):
    found = run_lane(["ok", "raise", "diverge", "memory", "ok", "die_once", "die"])
    reasons = {number: outcome.get("reason") for number, outcome in found.items()}
    assert re.fullmatch(r"ValueError: boom \(fake_trials.py:\d+\)", reasons[1])
    assert "boom" in found[1]["traceback"]
    assert reasons[2] == "loss is not finite at step 7"
    assert reasons[3].startswith("out of memory")
    assert reasons[6].startswith("a worker was lost twice: its process died")
    assert [n for n, reason in reasons.items() if not reason] == [0, 4, 5]
    assert found[0]["pid"] == found[4]["pid"] != found[5]["pid"]  # an exception keeps the group, a death does not
    assert found[0]["drawn"] == found[4]["drawn"] == found[5]["drawn"]  # seeds start over with each trial
    assert found[4]["start_up_s"] < found[0]["start_up_s"]  # warm
    assert found[0]["threads"] == 1


def test_two_workers_end_together(run_lane):
    found = run_lane(["ok", "raise", "raise_rank_1"], num_workers=2)
    assert found[0]["ranks"] == 2
    assert found[1]["reason"].startswith("ValueError: boom")
    assert found[2]["reason"].startswith("ValueError: boom on rank 1")


def test_a_stop_ends_a_trial_on_all_workers_and_keeps_them(ray_cluster, tmp_path):
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    class StopAtRung(FIFOScheduler):
        def on_trial_result(self, controller, trial, result):
            return self.STOP if "quality" in json.loads(result.get("report", "{}")) else self.CONTINUE

    jobs = [
        json.dumps({"number": i, "config": {"act": act}, "folder": str(tmp_path / f"marker{i}")})
        for i, act in enumerate(["ok", "stopped", "ok"])
    ]
    results = tune.Tuner(
        lane_trainable(LaneSettings("fake_trials:act", num_workers=2)),
        param_space={"job": tune.grid_search(jobs)},
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True, scheduler=StopAtRung()),
        run_config=tune.RunConfig(name="lane", storage_path=str(tmp_path / "tune"), verbose=0),
    ).fit()
    found = [json.loads(result.metrics.get("outcome", "{}")) for result in results]
    assert found[0]["pid"] == found[2]["pid"] and not found[1]
    assert not (tmp_path / "marker1").exists()  # it waited at its rung for what was decided


def test_what_cannot_be_recorded_is_a_reason():
    outcome = attempt(lambda *_: {"model": object()}, {"seed": 0}, print, 0, 1)
    assert outcome["reason"].startswith("TypeError: a trial returned object")


def test_numbers_of_libraries_become_plain():
    import numpy as np
    import torch

    outcome = attempt(lambda *_: {"a": np.float32(0.5), "b": torch.tensor(2), "c": np.int64(3)}, {}, print, 0, 1)
    assert outcome == {"a": 0.5, "b": 2, "c": 3}


def test_memory_is_blamed_only_on_evidence():
    assert "memory" not in loss_of(RuntimeError("ValueError: boom"))
    assert "memory" in loss_of(RuntimeError("OutOfMemoryError: Task was killed due to the node running low on memory"))
    assert loss_of(None) == "the worker group ended early"


def test_a_student_is_uploaded_when_the_study_is_not_on_a_disk(tmp_path, monkeypatch):
    import trainables.trial
    from trainables.worker import distil

    def run_trial(job, report, rank, world_size):
        assert "://" not in job.student_folder + job.folder
        assert job.checkpoint_copy == ("x://study/checkpoints/00003/checkpoint.safetensors" if uploads else "")
        Path(job.student_folder).mkdir(parents=True)
        (Path(job.student_folder) / "config.json").write_text("{}")
        return {"quality": 0.5}

    monkeypatch.setattr(trainables.trial, "run_trial", run_trial)
    job = dict.fromkeys((field.name for field in dataclasses.fields(trainables.trial.TrialJob)), "")
    job |= {"folder": "x://study/checkpoints/00003", "student_folder": f"file://{tmp_path}/students/00003"}
    uploads = True
    assert distil(job, print, 0, 1) == {"quality": 0.5, "student_path": "students/00003"}
    assert (tmp_path / "students/00003/config.json").read_text() == "{}"
    local = {**job, "folder": str(tmp_path / "checkpoint"), "student_folder": str(tmp_path / "students/00004")}
    uploads = False
    assert distil(local, print, 0, 1)["student_path"] == "students/00004"
    assert (tmp_path / "students/00004/config.json").is_file()
