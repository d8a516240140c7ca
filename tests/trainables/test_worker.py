"""The lane, on real Ray processes with a cheap trial function."""

import json

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


def test_one_group_survives_what_trials_do(run_lane):
    found = run_lane(["ok", "raise", "diverge", "memory", "ok", "die_once", "die", "ok"])
    reasons = {number: outcome.get("reason") for number, outcome in found.items()}
    assert reasons[1] == "ValueError: boom (fake_trials.py:26)"
    assert "boom" in found[1]["traceback"]
    assert reasons[2] == "loss is not finite at step 7"
    assert reasons[3].startswith("out of memory")
    assert reasons[6].startswith("a worker was lost twice: its process died")
    assert [n for n, reason in reasons.items() if not reason] == [0, 4, 5, 7]
    assert found[0]["pid"] == found[4]["pid"] != found[5]["pid"]  # an exception keeps the group, a death does not
    assert found[0]["drawn"] == found[4]["drawn"] == found[7]["drawn"]  # seeds start over with each trial
    assert found[4]["start_up_s"] < 2 < found[7]["start_up_s"] + 2
    assert found[0]["threads"] == 1


def test_two_workers(run_lane):
    found = run_lane(["ok", "raise", "raise_rank_1", "ok"], num_workers=2)
    assert [found[i].get("ranks") for i in (0, 3)] == [2, 2]
    assert found[1]["reason"].startswith("ValueError: boom")
    assert found[2]["reason"].startswith("ValueError: boom on rank 1")


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
