"""`od`, output-distribution transfer: the student learns what the teacher predicts at the masked positions.

Hinton et al., arXiv:1503.02531; for masked language models as in DistilBERT, arXiv:1910.01108.
"""

from torch import Tensor

from spaces.students.architecture import TeacherFacts
from spaces.students.axis import Axis, positive
from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.fused import Decoded, soft_targets
from trainables.losses.loss import Batch, Loss, Maps
from trainables.models.encoder import Head
from trainables.models.signals import LOGITS, Signals


def output_distribution_loss(student: Head, teacher: Head, temperature: float) -> Tensor:
    """tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau)), mean over positions (Hinton et al. 2015, section 2)."""
    criterion = soft_targets(teacher.words_ND, teacher.weight_VD, teacher.bias_V, temperature)
    return Decoded.apply(criterion, student.words_ND, student.weight_VD, student.bias_V)


def loss(pairing: Pairing) -> Loss:
    """`output_distribution_loss` of the two heads at the masked positions."""
    ours, theirs = (LOGITS, pairing.student.num_layers), (LOGITS, pairing.teacher.num_layers)
    temperature = float(pairing.config["temperature"])

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        return output_distribution_loss(student[ours], teacher[theirs], temperature)

    return Loss((ours,), (theirs,), value)


def default_temperatures(teacher: TeacherFacts) -> tuple[float, ...]:
    """What is tried."""
    return (1.0, 2.0, 4.0)


TEMPERATURE = Axis(
    "temperature", float, positive, "softmax temperature of output-distribution transfer",
    default=default_temperatures, may_be_range=True,
)  # fmt: skip
OD = TransferMethod(
    "od", "output distribution at the masked positions", "arXiv:1503.02531", loss, signals=("logits",),
    axes=(TEMPERATURE,), needs_lm_head=True, student_lm_head=True, masked_inputs=True,
)  # fmt: skip
