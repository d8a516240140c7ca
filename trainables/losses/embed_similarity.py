"""`embed_similarity`: the student learns which texts of a batch the teacher takes for alike.

CompRess, arXiv:2010.14713; SEED, arXiv:2101.04731. The widths need not agree, and nothing is projected.
Shapes: B texts, E width of the teacher's embeddings, e of the student's pooled states.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.students.axis import Axis, positive
from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.loss import Batch, Loss, Maps
from trainables.losses.pooling import POOLING, pooled_student, pooled_teacher, pooling_of
from trainables.losses.regression import full
from trainables.models.signals import Signals


def similarity_loss(student_Be: Tensor, teacher_BE: Tensor, temperature: float) -> Tensor:
    """KL(softmax(cosines of the teacher / tau) || softmax(cosines of the student / tau)), mean over the rows BB."""
    ours_BB, theirs_BB = (log_likeness(each, temperature) for each in (student_Be, teacher_BE))
    return (theirs_BB.exp() * (theirs_BB - ours_BB)).sum(-1).mean()


def log_likeness(embeddings_BE: Tensor, temperature: float) -> Tensor:
    """The logarithms of the rows BB."""
    directions_BE = F.normalize(full(embeddings_BE), dim=-1)
    with torch.autocast(directions_BE.device.type, enabled=False):
        return torch.log_softmax(directions_BE @ directions_BE.T / temperature, dim=-1)


def loss(pairing: Pairing) -> Loss:
    """`similarity_loss` over the texts of a batch; with accumulation or several workers, over each one's part of it."""
    ours, theirs = pooled_student(pairing), pooled_teacher(pairing)
    temperature = float(pairing.config["similarity_temperature"])

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        return similarity_loss(student[ours], teacher[theirs], temperature)

    return Loss((ours,), (theirs,), value, pooling=pooling_of(pairing))


TEMPERATURE = Axis(
    "similarity_temperature", float, positive, "softmax temperature over the similarities of a batch",
    default=lambda teacher: {"low": 0.03, "high": 0.3, "log": True}, may_be_range=True,
)  # fmt: skip
EMBED_SIMILARITY = TransferMethod(
    "embed_similarity", "which texts of a batch are alike", "arXiv:2010.14713", loss, signals=("pooled",),
    axes=(TEMPERATURE, POOLING),
)  # fmt: skip
