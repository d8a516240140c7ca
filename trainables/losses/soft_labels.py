"""`soft_labels`, for classifiers: the student learns how likely each class is to the teacher.

Hinton et al., arXiv:1503.02531, section 2.
Shapes: B texts, C classes.
"""

import torch.nn.functional as F
from torch import Tensor

from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.loss import Batch, Loss, Maps
from trainables.losses.od import TEMPERATURE
from trainables.losses.regression import full
from trainables.models.signals import Signals, class_scored


def soft_label_loss(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    """tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau)), mean over texts, in nats."""
    ours_BC, theirs_BC = (F.log_softmax(full(each) / temperature, dim=-1) for each in (student_BC, teacher_BC))
    return temperature**2 * F.kl_div(ours_BC, theirs_BC, reduction="batchmean", log_target=True)


def loss(pairing: Pairing) -> Loss:
    """`soft_label_loss` of the two heads."""
    signal = class_scored((pairing.scored_state,))
    ours, theirs = (signal, pairing.student.num_layers), (signal, pairing.teacher.num_layers)
    temperature = float(pairing.config["temperature"])

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        return soft_label_loss(student[ours], teacher[theirs], temperature)

    return Loss((ours,), (theirs,), value)


SOFT_LABELS = TransferMethod(
    "soft_labels", "how likely each class is, for teachers that classify texts", "arXiv:1503.02531", loss,
    signals=("class_scores",), axes=(TEMPERATURE,), classifies=True,
)  # fmt: skip
