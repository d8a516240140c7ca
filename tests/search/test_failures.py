"""What may befall a study, on real processes where it can be: hangs, kills, a storage that does not answer."""

import errno
import json
import os

import pytest

from search.cluster import join
from search.store import Store
from spaces.errors import StillhouseError
from trainables.worker import LaneSettings, lane_trainable


def test_a_trial_that_hangs_is_started_again_once(ray_cluster, tmp_path):
    from ray import tune

    acts = ["slow", "hang"]
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
    assert [number for number, outcome in found.items() if not outcome.get("reason")] == [
        0
    ]  # slow was not for too long, and starting a group is no silence
    # The slow one was not silent for too long, and starting a group is no silence.
    assert found[1]["reason"] == "a worker was lost twice: it said nothing for 3 s"


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
