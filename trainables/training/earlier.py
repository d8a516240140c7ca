"""The student of a run as it was at the best of its rungs, from the checkpoint that keeps it."""

import torch
from transformers import PreTrainedModel

from trainables.models.embedding import Embedder, set_embedder
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus
from trainables.training.checkpoint import CheckpointFile, Passed, best_weights, read_checkpoint, read_progress
from trainables.training.distillation import Distillation
from trainables.training.settings import TrainingRun


def best_rung(checkpoint: CheckpointFile, run: TrainingRun) -> Passed | None:
    """The rung whose weights the checkpoint of a run keeps; None: it keeps none."""
    return read_progress(checkpoint.path, run.digest).best if checkpoint.path.is_file() else None


@torch.no_grad()
def put_back(
    student: PreTrainedModel, first: Embedder, teacher: Teacher, corpus: Corpus, run: TrainingRun,
    checkpoint: CheckpointFile,
) -> None:  # fmt: skip
    """Give a trained student the weights that it had at `best_rung`, and the way to embed.

    first: how it embedded before its first step.
    """
    progress, tensors = read_checkpoint(checkpoint.path, run.digest)
    assert progress.best is not None
    weights = best_weights(tensors)
    set_embedder(student, first)
    module = Distillation(student, teacher, corpus, dict(run.config), run.settings)
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[name])
    module.stage = progress.best.stage
    module.hand_over()
