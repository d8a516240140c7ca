"""A checkpoint on an object store: copied whole, fetched where it is missing, set aside when it is of no use."""

from dataclasses import replace

import fsspec
import pytest
import torch
from small_trials import EXACT, METHODS, STEP

from trainables.models.student import build_student
from trainables.training.checkpoint import CheckpointFile, fetch, upload
from trainables.training.loop import Leaving, distil
from trainables.training.settings import TrainingRun

SELDOM = replace(EXACT, checkpoint_every_s=1e9)


class Interrupted(Exception):
    pass


def train(teacher, corpus, folder, copy, config=METHODS["hs"], stop_at=None):
    """(student, steps reported) of a trial of 6 steps on a node with this scratch folder."""
    student, steps = build_student(config, teacher, 0, corpus), []

    def report(row):
        if row.step == stop_at:
            raise Interrupted
        steps.append(row.step)

    run = TrainingRun(config, 6 * STEP, 0, EXACT)
    distil(student, teacher, corpus, run, report, checkpoint=CheckpointFile(folder / "checkpoint.safetensors", copy))
    return student, steps


def test_a_trial_goes_on_elsewhere_in_the_same_bits(teacher, corpus, tmp_path):
    copy = f"memory://{tmp_path.name}/checkpoints/00000/checkpoint.safetensors"
    straight, steps = train(teacher, corpus, tmp_path / "straight", "")
    assert steps == [1, 2, 3, 4, 5, 6]
    with pytest.raises(Interrupted):
        train(teacher, corpus, tmp_path / "one node", copy, stop_at=4)
    again, steps = train(teacher, corpus, tmp_path / "another", copy)
    assert steps == [4, 5, 6]  # the fourth report was not heard
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in straight.state_dict().items())


@pytest.mark.parametrize("made", [0, 1, 5, 43])
def test_a_trial_that_has_to_leave_goes_on_with_the_next_step(teacher, corpus, tmp_path, made):
    copy, heard = f"memory://{tmp_path.name}/{made}/checkpoint.safetensors", {}

    def run(name, is_told=lambda: False):
        said = heard.setdefault(name, [])
        student = build_student(METHODS["hs"], teacher, 0, corpus)
        place = CheckpointFile(tmp_path / name / "checkpoint.safetensors", copy if name != "straight" else "")
        run = TrainingRun(METHODS["hs"], 43 * STEP, 0, SELDOM)  # a report every two steps
        trained = distil(student, teacher, corpus, run, said.append, checkpoint=place, is_told=is_told)
        return student, trained

    straight, trained = run("straight")
    looks = iter(range(made + 1))
    with pytest.raises(Leaving, match=f"after step {made} of 43"):
        run("one node", lambda: next(looks) == made)
    again, trained_again = run("another")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in straight.state_dict().items())
    assert trained_again.held_out_loss == trained.held_out_loss and trained_again.loss_last == trained.loss_last
    both = [*heard["one node"], *heard["another"]]
    facts = [[(each.step, each.loss, each.gradient_norm) for each in reports] for reports in (heard["straight"], both)]
    assert facts[0] == facts[1]  # each report is made once, of the same losses


@pytest.mark.parametrize("spoil", ["truncated", "another learning rate", "another shape"])
def test_what_is_no_checkpoint_of_this_trial_is_set_aside(teacher, corpus, tmp_path, spoil, caplog):
    copy = f"memory://{tmp_path.name}/checkpoint.safetensors"
    config = METHODS["hs"]
    other = {
        "another learning rate": {**config, "learning_rate": 1e-3}, "another shape": {**config, "num_layers": 1}
    }.get(spoil, config)  # fmt: skip
    train(teacher, corpus, tmp_path / "one", copy, other)
    if spoil == "truncated":
        filesystem, path = fsspec.core.url_to_fs(copy)
        filesystem.pipe_file(path, filesystem.cat_file(path)[:-100])
    _, steps = train(teacher, corpus, tmp_path / "two", copy)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "two" / "checkpoint.safetensors.unreadable").is_file()
    assert "cannot be used" in caplog.text and "starts over" in caplog.text


def test_a_store_that_does_not_answer_costs_no_trial(tmp_path, monkeypatch, caplog):
    file = tmp_path / "checkpoint.safetensors"
    fetch(f"memory://{tmp_path.name}/nothing", file)
    assert not file.exists() and not caplog.text
    file.write_bytes(b"whole")
    (tmp_path / "no folder").write_text("")
    upload(file, f"file://{tmp_path}/no folder/below/checkpoint.safetensors")
    fetch(f"file://{tmp_path}", tmp_path / "fetched")
    assert "was not copied" in caplog.text and "could not be fetched" in caplog.text
    assert not (tmp_path / "fetched").exists()
