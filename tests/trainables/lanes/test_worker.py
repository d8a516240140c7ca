"""What a worker does with one trial; no process of Ray's is needed for it."""

import dataclasses
from pathlib import Path

from trainables.lanes.worker import attempt, is_disk_full


def test_what_cannot_be_recorded_is_a_reason():
    outcome = attempt(lambda *_: {"model": object()}, {"seed": 0}, print, 0, 1)
    assert outcome["reason"].startswith("TypeError: a trial returned object")


def test_numbers_of_libraries_become_plain():
    import numpy as np
    import torch

    outcome = attempt(lambda *_: {"a": np.float32(0.5), "b": torch.tensor(2), "c": np.int64(3)}, {}, print, 0, 1)
    assert outcome == {"a": 0.5, "b": 2, "c": 3}


def test_a_full_disk_is_told_from_a_failure_of_the_trial(tmp_path):
    def fill(*_):
        with open("/dev/full", "w") as file:
            file.write("x")

    assert attempt(fill, {}, print, 0, 1)["disk_full"]
    assert is_disk_full(RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"))
    assert "disk_full" not in attempt(lambda *_: {}["a"], {}, print, 0, 1)


def test_a_student_is_uploaded_when_the_study_is_not_on_a_disk(tmp_path, monkeypatch):
    import trainables.lanes.trial
    from trainables.lanes.worker import distil

    def run_trial(job, report, rank, world_size):
        assert "://" not in job.student_folder + job.folder
        assert job.checkpoint_copy == ("x://study/checkpoints/00003/checkpoint.safetensors" if uploads else "")
        Path(job.student_folder).mkdir(parents=True)
        (Path(job.student_folder) / "config.json").write_text("{}")
        return {"quality": 0.5}

    monkeypatch.setattr(trainables.lanes.trial, "run_trial", run_trial)
    job = dict.fromkeys((field.name for field in dataclasses.fields(trainables.lanes.trial.TrialJob)), "")
    job |= {"folder": "x://study/checkpoints/00003", "student_folder": f"file://{tmp_path}/students/00003"}
    uploads = True
    assert distil(job, print, 0, 1) == {"quality": 0.5, "student_path": "students/00003"}
    assert (tmp_path / "students/00003/config.json").read_text() == "{}"
    local = {**job, "folder": str(tmp_path / "checkpoint"), "student_folder": str(tmp_path / "students/00004")}
    uploads = False
    assert distil(local, print, 0, 1)["student_path"] == "students/00004"
    assert (tmp_path / "students/00004/config.json").is_file()
