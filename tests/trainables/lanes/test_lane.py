"""The lane, on real Ray processes with a cheap trial function. Starting a group is slow: many acts share one."""

import re
from dataclasses import replace

import pytest

from spaces.values import from_json, to_json
from trainables.lanes.lane import NO_ROOM, lane_trainable, loss_of
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.lanes.settings import ClusterSpec, LaneSettings
from trainables.tasks.spec import EvaluationSpec
from trainables.training.reports import TrialReport

JOB = TrialJob(
    trial=0, config={}, seed=3, teacher="", corpus="", tasks=(), train_tokens=1, evaluation=EvaluationSpec(), floors={}
)  # fmt: skip


@pytest.fixture
def run_lane(ray_cluster, tmp_path):
    """Run the acts one after the other on one lane; returns {act number: outcome}. A trial ends at its first rung."""
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    class StopAtRung(FIFOScheduler):
        def on_trial_result(self, controller, trial, result):
            if not result.get("report"):
                return self.CONTINUE
            return self.STOP if from_json(TrialReport, result["report"]).scores else self.CONTINUE

    def run(acts, ranks_apart_s=20.0, **cluster):
        jobs = [
            to_json(replace(JOB, trial=i, config={"act": act, "slow_s": 1.5}, folder=str(tmp_path / act)))
            for i, act in enumerate(acts)
        ]
        results = tune.Tuner(
            lane_trainable(LaneSettings("fake_trials:act", ClusterSpec(**cluster), ranks_apart_s)),
            param_space={"job": tune.grid_search(jobs)},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True, scheduler=StopAtRung()),
            run_config=tune.RunConfig(name="lane", storage_path=str(tmp_path / "tune"), verbose=0),
        ).fit()
        assert not results.errors
        outcomes = {from_json(TrialJob, r.config["job"]).trial: r.metrics.get("outcome") for r in results}
        return {trial: text and from_json(TrialOutcome, text) for trial, text in outcomes.items()}

    return run


def test_a_lane_survives_what_trials_do(run_lane):
    acts = ["slow", "raise", "diverge", "memory", "ok", "killed_once", "hang_then_die"]
    found = run_lane(acts, hang_after_s=3)
    reasons = {acts[number]: outcome.reason for number, outcome in found.items()}
    assert re.fullmatch(r"ValueError: boom \(fake_trials.py:\d+\)", reasons["raise"])
    assert "boom" in found[1].traceback
    assert reasons["diverge"] == "loss is not finite at step 7"
    assert reasons["memory"].startswith("out of memory")
    assert re.match("a worker was lost twice: it said nothing for 3 s; then its process died", reasons["hang_then_die"])
    # Slow was silent for less than hang_after_s, and starting a group, which takes longer, is no silence.
    assert [act for act, reason in reasons.items() if not reason] == ["slow", "ok", "killed_once"]
    assert (
        found[0].costs["pid"] == found[4].costs["pid"] != found[5].costs["pid"]
    )  # an exception keeps the group, a death does not
    assert (
        found[0].costs["drawn"] == found[4].costs["drawn"] == found[5].costs["drawn"]
    )  # seeds start over with each trial
    assert found[4].start_up_s < found[0].start_up_s  # warm
    assert found[0].costs["threads"] == 1


def test_two_workers_begin_stop_and_end_together(run_lane, tmp_path):
    found = run_lane(["ok", "stopped", "ok", "raise", "raise_rank_1"], workers_per_trial=2, ranks_apart_s=1.0)
    assert found[0].costs["ranks"] == 2 and found[0].costs["pid"] == found[2].costs["pid"]
    assert not found[1] and not (tmp_path / "stopped").exists()  # it waited at its rung for what was decided
    assert found[3].reason.startswith("ValueError: boom")
    assert found[4].reason.startswith("ValueError: boom on rank 1")


def test_memory_is_blamed_only_on_evidence():
    assert "memory" not in loss_of(RuntimeError("ValueError: boom"))
    killed = "A worker health check failed.\n3 worker(s) were killed due to the node running low on memory.\nMemory ..."
    assert loss_of(RuntimeError(killed)) == "Ray killed it because its node ran out of memory"
    assert loss_of(RuntimeError("The worker group startup timed out after 60.0 seconds")) == NO_ROOM
    assert loss_of(None) == "the worker group ended early"
