"""`mlm`, masked language modelling without a teacher: what distillation has to beat (BERT, arXiv:1810.04805)."""

from torch import Tensor

from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.fused import Decoded, hard_targets
from trainables.losses.loss import Batch, Loss, Maps
from trainables.models.encoder import Head
from trainables.models.signals import LOGITS, Signals


def masked_lm_loss(student: Head, labels_N: Tensor) -> Tensor:
    """Cross entropy of the masked words, mean over positions: training without a teacher."""
    return Decoded.apply(hard_targets(labels_N), student.words_ND, student.weight_VD, student.bias_V)


def loss(pairing: Pairing) -> Loss:
    """`masked_lm_loss` of the student's head at the masked positions."""
    ours = (LOGITS, pairing.student.num_layers)

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        assert batch.labels_N is not None
        return masked_lm_loss(student[ours], batch.labels_N)

    return Loss((ours,), (), value)


MLM = TransferMethod(
    "mlm", "masked language modelling, without a teacher", "arXiv:1810.04805", loss,
    student_lm_head=True, masked_inputs=True,
)  # fmt: skip
