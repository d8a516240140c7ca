"""`score`, for rerankers: the student learns what score the teacher gives to each pair of texts.

Squared distance of scores before any activation: Ba and Caruana, arXiv:1312.6184, section 2.2.
Shapes: B pairs.
"""

from torch import Tensor

from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.loss import Batch, Loss, Maps
from trainables.losses.regression import full
from trainables.models.signals import Signals, scored


def score_loss(student_B: Tensor, teacher_B: Tensor) -> Tensor:
    """Squared error, mean over pairs."""
    return (full(student_B) - full(teacher_B)).square().mean()


def loss(pairing: Pairing) -> Loss:
    """`score_loss` of the two heads."""
    signal = scored((pairing.scored_state,))
    ours, theirs = (signal, pairing.student.num_layers), (signal, pairing.teacher.num_layers)

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        return score_loss(student[ours], teacher[theirs])

    return Loss((ours,), (theirs,), value)


SCORE = TransferMethod(
    "score", "the score of each pair of texts", "arXiv:1312.6184", loss, signals=("score",), scores_pairs=True
)
