"""From a spec to a job, to a worker, and back to a row, with nothing of Ray: the values that cross are exact."""

from dataclasses import replace
from datetime import UTC, datetime

import fake_trials
import pytest
import toy

from search.store.parts import Store
from search.tune.searcher import StudySearcher
from search.tune.tuning import ask_tell, job_maker
from spaces.errors import StillhouseError
from spaces.records.latency import LatencySpec
from spaces.values import from_json, to_json
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.lanes.worker import Stopped, attempt
from trainables.tasks.scores import Reference, Scores, StudentScore
from trainables.training.reports import Trained, TrialReport

SPEC = toy.SPEC.replace(
    "[space]",
    "[rungs]\nfirst_tokens = 100_000\nfactor = 2\n[training]\nstart = '/a/student'\nweight_decay = 0.25\n"
    "[search]\nschedule = 'halving'\n[space]",
)
TESTED = StudentScore(0.7, 0.6, 2, "accuracy", "finetune")
TRAINED = Trained(2.5, 1.5, 30, 300_000, 12.5, 3.5, 1.75, "cache")


def study_of(folder):
    """(plan with all fields of the job filled, its AskTell, the searcher that Tune would see)."""
    plan = toy.plan(SPEC)
    floors = {"toy": Reference(0.9, 0.3)}
    job = replace(
        plan.job, training=plan.study.spec.training, latency=LatencySpec(threads=2), tasks=("/tasks/toy",),
        languages={"toy": "en"}, floors=floors, rung_floors=floors, test_floors=floors, targets="/targets",
    )  # fmt: skip
    plan = replace(plan, job=job)
    asktell = ask_tell(plan, Store(folder, ["toy"], by_language=True), print)
    make_job = job_maker(plan, asktell.history, lambda trial: None)
    return plan, asktell, StudySearcher(asktell, make_job, lambda row: None, lambda: 2)


def tiny(job, report, rank, world_size):
    """Says what it was given."""
    report(TrialReport(1, 100_000, 2.0, 1e-4, 0.5, 1e3, 4.0, Scores(0.25, {"toy": TESTED})))
    scores = Scores(0.5, {"toy": StudentScore(0.6, 0.5, 1, "accuracy", job.evaluation.protocol)}, "en", 0.5)
    costs = {"latency_p50_ms": 1.25, "parameters": 1000}
    return TrialOutcome(TRAINED, scores, {"toy": TESTED}, costs, evaluate_s=1.0, profile_s=2.0, student_path="x")


def test_a_job_is_what_the_spec_says_and_stays_so(tmp_path):
    plan, asktell, searcher = study_of(tmp_path)
    job = from_json(TrialJob, searcher.suggest("a")["job"])
    assert from_json(TrialJob, to_json(job)) == job
    asked = asktell.history.asked[0]
    assert (job.trial, job.seed, job.rungs, job.train_tokens) == (0, 5, (100_000, 200_000), 300_000)
    assert dict(job.config) == asktell.history.config_of(0) and asked["seed"] == 5
    assert job.training == plan.study.spec.training and job.training.start == "/a/student"
    assert job.training.weight_decay == 0.25 and job.latency == LatencySpec(threads=2)
    assert job.floors == {"toy": Reference(0.9, 0.3)} and job.tasks == ("/tasks/toy",)
    assert job.folder == f"{tmp_path}/checkpoints/00000" and job.student_folder == f"{tmp_path}/students/00000"


def test_what_a_trial_measured_stands_in_its_rows(tmp_path):
    _, asktell, searcher = study_of(tmp_path)
    job = from_json(TrialJob, searcher.suggest("a")["job"])
    reports = []
    outcome = attempt(tiny, job, reports.append)
    assert outcome is not None
    assert searcher.goes_on("a", {"report": to_json(reports[0])})
    timed = replace(outcome, start_up_s=0.5, started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert from_json(TrialOutcome, to_json(timed)) == timed
    searcher.on_trial_complete("a", {"outcome": to_json(timed)})
    (row,) = asktell.store.read_rows("trials")
    wanted = {
        "trial": 0, "status": "finished", "reason": "", "seed": 5, "rung": 1, "quality": 0.5, "score_toy": 0.6,
        "recovered_toy": 0.5, "probe_layer_toy": 1, "worst_language": "en", "worst_language_quality": 0.5,
        "loss_first": 2.5, "loss_last": 1.5, "held_out_loss": 1.75, "steps": 30, "train_tokens": 300_000,
        "train_s": 12.5, "teacher_s": 3.5, "evaluate_s": 1.0, "profile_s": 2.0, "start_up_s": 0.5, "targets": "cache",
        "latency_p50_ms": 1.25, "parameters": 1000, "student_path": "x", "started_at": timed.started_at,
        "learning_rate": job.config["learning_rate"], "method": job.config["method"],
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    (report,) = asktell.store.read_rows("reports")
    assert (report["train_tokens"], report["quality"], report["learning_rate"]) == (100_000, 0.25, 1e-4)
    (tested,) = asktell.store.read_rows("test_scores")
    assert tested == {"trial": 0, "task": "toy", "protocol": "finetune", "score": 0.7, "recovered": 0.6, "layer": 2,
                      "metric": "accuracy"}  # fmt: skip


def test_a_stopped_trial_keeps_its_configuration_and_the_scores_of_its_rung(tmp_path):
    _, asktell, searcher = study_of(tmp_path)
    rows = []
    for name in "abcdef":
        job = from_json(TrialJob, searcher.suggest(name)["job"])

        worse = 0.1 / (1 + len(rows))

        def report(said, name=name, quality=worse):
            said = replace(said, scores=fake_trials.scored(quality))
            if not searcher.goes_on(name, {"report": to_json(said)}):
                raise Stopped

        if (outcome := attempt(tiny, job, report)) is not None:
            searcher.on_trial_complete(name, {"outcome": to_json(outcome)})
        rows = asktell.store.read_rows("trials")
    stopped = [row for row in rows if row["status"] == "stopped"]
    assert stopped
    for row in stopped:
        assert row["learning_rate"] == asktell.history.config_of(row["trial"])["learning_rate"]  # not the step's
        assert (row["rung"], row["train_tokens"], row["steps"], row["loss_last"]) == (1, 100_000, 1, 2.0)
        assert row["score_toy"] == row["quality"] < 0.5


def test_what_no_column_records_is_an_error_with_its_place(tmp_path):
    _, asktell, _ = study_of(tmp_path)
    ask = asktell.ask()
    with pytest.raises(StillhouseError, match=r"trials has no column 'colour'; .* declares columns"):
        asktell.tell(ask.trial, fake_trials.outcome(0.5, colour=1))
