"""`labels`, for classifiers: the student learns the labels of the corpus, without a teacher.

The hard half of distillation (Hinton et al., arXiv:1503.02531, section 2), and the last stage of XtremeDistil
(Mukherjee et al., arXiv:2106.04563).
Shapes: B texts, C classes.
"""

import torch.nn.functional as F
from torch import Tensor

from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.loss import Batch, Loss, Maps
from trainables.losses.regression import full
from trainables.models.signals import Signals, class_scored


def label_loss(student_BC: Tensor, classes_B: Tensor) -> Tensor:
    """Cross entropy, mean over texts, in nats."""
    return F.cross_entropy(full(student_BC), classes_B)


def loss(pairing: Pairing) -> Loss:
    """`label_loss` of the student's head."""
    ours = (class_scored((pairing.scored_state,)), pairing.student.num_layers)

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        assert batch.classes_B is not None
        return label_loss(student[ours], batch.classes_B)

    return Loss((ours,), (), value)


LABELS = TransferMethod(
    "labels", "the labels of the corpus, for teachers that classify texts; without a teacher", "arXiv:1503.02531", loss,
    classifies=True, labelled=True,
)  # fmt: skip
