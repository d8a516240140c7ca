"""The best rung of a run: its weights stay in the checkpoint, through an interruption, and can be put back."""

import pytest
import torch
from small_trials import EXACT, METHODS, STEP

from trainables.models.embedding import embedder_of
from trainables.models.student import build_student
from trainables.tasks.scores import Scores
from trainables.training.checkpoint import CheckpointFile, Passed
from trainables.training.earlier import best_rung, put_back
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("above, best", [(0.1, 0.6), (0.25, 0.6), (0.6, None)])
def test_the_best_rung_above_the_start_can_be_put_back(teacher, corpus, tmp_path, interrupted, above, best):
    config = METHODS["sum"]
    run = TrainingRun(config, 10 * STEP, 0, EXACT, rungs=(2 * STEP, 4 * STEP, 6 * STEP))
    student = build_student(config, teacher, 0, corpus)
    first, qualities, at_rungs = embedder_of(student), iter([0.2, 0.6, 0.3]), []
    checkpoint = CheckpointFile(tmp_path / "trial" / "checkpoint.safetensors")

    def score(model):
        at_rungs.append({name: value.clone() for name, value in model.state_dict().items()})
        return Scores(next(qualities), {})

    def report(row):
        if interrupted and row.step == 5 and len(at_rungs) == 2:
            raise Interrupted

    options = {"score": score, "checkpoint": checkpoint, "keeps_above": above}
    if interrupted:
        with pytest.raises(Interrupted):
            distil(student, teacher, corpus, run, report, **options)
        student, interrupted = build_student(config, teacher, 0, corpus), False
    trained = distil(student, teacher, corpus, run, report, **options)
    assert trained.steps == 10 and len(at_rungs) == 3
    found = best_rung(checkpoint, run)
    assert found == (Passed(best, 4 * STEP) if best else None)
    if found is None:
        return
    ended = {name: value.clone() for name, value in student.state_dict().items()}
    put_back(student, first, teacher, corpus, run, checkpoint)
    now = student.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in at_rungs[1].items())
    assert not all(torch.equal(value, now[name]) for name, value in ended.items())
