"""`mha_direct`, direct regression of the queries, keys and values of one layer, through learned maps (DirectMiniLM,
arXiv:2310.08797).

Shapes: B batch, T tokens, D student width, E teacher width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.loss import Batch, Loss, Maps, Projection
from trainables.losses.mha import TEACHER_LAYER
from trainables.losses.regression import mapped_mse
from trainables.models.signals import QKV, Signals

NAMES = ("query", "key", "value")


def direct_loss(mapped: Sequence[tuple[Tensor, Tensor, Tensor]], mask_BT: Tensor | None) -> Tensor:
    """Sum over Q, K, V of MSE(X_S W_X, X_T), each (X_S BTD, W_X DE, X_T BTE), as DirectMiniLM (Udagawa et al. 2023,
    section 3.3)."""
    return torch.stack([mapped_mse(*each, mask_BT) for each in mapped]).sum()


def loss(pairing: Pairing) -> Loss:
    """`direct_loss` of the student's last layer against the configured teacher layer."""
    ours, theirs = (QKV, pairing.student.num_layers), (QKV, int(pairing.config["teacher_layer"]))
    projection = Projection(
        pairing.student_attention.width_of(pairing.student.hidden_size),
        pairing.attention.width_of(pairing.teacher.hidden_size),
    )

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        triples = zip(NAMES, student[ours], teacher[theirs], strict=True)
        return direct_loss([(x, maps[name], y) for name, x, y in triples], batch.mask_BT)

    return Loss((ours,), (theirs,), value, dict.fromkeys(NAMES, projection))


MHA_DIRECT = TransferMethod(
    "mha_direct", "queries, keys and values themselves", "arXiv:2310.08797", loss, signals=("qkv",),
    axes=(TEACHER_LAYER,),
)  # fmt: skip
