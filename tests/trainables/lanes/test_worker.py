"""What a worker does with one trial; no process of Ray's is needed for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spaces.values import from_json, to_json
from trainables.lanes import trial
from trainables.lanes.messages import TrialJob, TrialOutcome
from trainables.lanes.worker import attempt, is_disk_full
from trainables.tasks.spec import EvaluationSpec

JOB = TrialJob(
    trial=3, config={}, seed=0, teacher="", corpus="", tasks=(), train_tokens=1, evaluation=EvaluationSpec(), floors={}
)  # fmt: skip


def test_what_cannot_be_recorded_is_a_reason():
    outcome = attempt(lambda *_: TrialOutcome(costs={"model": object()}), JOB, print)
    assert outcome.reason.startswith("TypeError: object is no number, text or time")


def test_numbers_of_libraries_become_plain():
    outcome = TrialOutcome(costs={"a": np.float32(0.5), "b": torch.tensor(2), "c": np.int64(3)})
    assert from_json(TrialOutcome, to_json(outcome)).costs == {"a": 0.5, "b": 2, "c": 3}


def test_a_full_disk_is_told_from_a_failure_of_the_trial():
    def fill(*_):
        with open("/dev/full", "w") as file:
            file.write("x")

    assert attempt(fill, JOB, print).disk_full
    assert is_disk_full(RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"))
    failed = attempt(lambda *_: {}["a"], JOB, print)
    assert failed.reason.startswith("KeyError") and "Traceback" in failed.traceback and not failed.disk_full


@pytest.mark.parametrize("uploads", [True, False])
def test_a_student_is_uploaded_when_the_study_is_not_on_a_disk(tmp_path, monkeypatch, uploads):
    def run_local(job, report, rank, world_size):
        assert "://" not in job.student_folder + job.folder
        assert job.checkpoint_copy == ("x://study/checkpoints/00003/checkpoint.safetensors" if uploads else "")
        Path(job.student_folder).mkdir(parents=True)
        (Path(job.student_folder) / "config.json").write_text("{}")
        return TrialOutcome(student_path="students/00003")

    monkeypatch.setattr(trial, "run_local", run_local)
    folder, student = str(tmp_path / "checkpoint"), str(tmp_path / "students/00003")
    if uploads:
        folder, student = "x://study/checkpoints/00003", f"file://{student}"
    outcome = trial.run_trial(replace(JOB, folder=folder, student_folder=student), print)
    assert outcome.student_path == "students/00003"
    assert (tmp_path / "students/00003/config.json").read_text() == "{}"
