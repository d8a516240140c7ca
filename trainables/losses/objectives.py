"""The distillation losses: pure functions of what student and teacher computed, and OBJECTIVES, what each one asks for.

Every loss is a mean per valid position, so that its scale does not move with batch, length or heads, and every
divergence is exactly 0 where the student equals the teacher. Padding may be on either side.
Shapes: B batch, T tokens, D width, R relation heads, N chosen positions, V vocabulary. Divergences are in nats.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from spaces.students.architecture import StudentArchitecture
from spaces.students.layer_mapping import resolve_mapping
from trainables.losses.fused import Decoded, RelationDivergence, full_dtype, hard_targets, soft_targets
from trainables.models.encoder import Head
from trainables.models.teacher import Signals, Wanted

T = TypeVar("T")
QKV = ("query", "key", "value")


def full(x: Tensor) -> Tensor:
    """In the dtype that losses are summed in: see `full_dtype`."""
    return x.to(full_dtype(x))


def output_distribution_loss(student: Head, teacher: Head, temperature: float) -> Tensor:
    """tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau)), mean over positions (Hinton et al. 2015, section 2)."""
    criterion = soft_targets(teacher.words_ND, teacher.weight_VD, teacher.bias_V, temperature)
    return Decoded.apply(criterion, student.words_ND, student.weight_VD, student.bias_V)


def masked_lm_loss(student: Head, labels_N: Tensor) -> Tensor:
    """Cross entropy of the masked words, mean over positions: training without a teacher."""
    return Decoded.apply(hard_targets(labels_N), student.words_ND, student.weight_VD, student.bias_V)


def hidden_state_loss(pairs: Sequence[tuple[Tensor, Tensor]], mask_BT: Tensor | None) -> Tensor:
    """Mean over pairs of MSE(H_S W, H_T); each pair is (projected student BTD, teacher BTD) (TinyBERT, eq. 8)."""
    return torch.stack([masked_mse(student, teacher, mask_BT) for student, teacher in pairs]).mean()


def direct_loss(pairs: Sequence[tuple[Tensor, Tensor]], mask_BT: Tensor | None) -> Tensor:
    """Sum over Q, K, V of MSE(X_S W_X, X_T), as DirectMiniLM (Udagawa et al. 2023, section 3.3)."""
    return torch.stack([masked_mse(student, teacher, mask_BT) for student, teacher in pairs]).sum()


def masked_mse(student_BTD: Tensor, teacher_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Squared error, mean over width and valid positions."""
    error_BT = (full(student_BTD) - full(teacher_BTD)).square().mean(-1)
    if mask_BT is None:
        return error_BT.mean()
    return (error_BT * mask_BT).sum() / mask_BT.sum()


def relation_loss(
    student_qkv: Sequence[Tensor], teacher_qkv: Sequence[Tensor], mask_BT: Tensor | None, relation_heads: int
) -> Tensor:
    """MiniLMv2 (Wang et al. 2021, eq. 4 to 6): sum over X in Q, K, V of the mean over relation heads and valid rows of
    KL(softmax(X_T X_T^T / sqrt(d_r)) || softmax(X_S X_S^T / sqrt(d_r))).

    student_qkv, teacher_qkv: three BTD each, all attention heads side by side. On each side d_r = width /
    relation_heads; the widths need not agree, but relation_heads must divide both.
    """
    pairs = zip(student_qkv, teacher_qkv, strict=True)
    return torch.stack([RelationDivergence.apply(*pair, mask_BT, relation_heads) for pair in pairs]).sum()


@dataclass(frozen=True)
class Pairing:
    """The two shapes that an objective connects and the configuration it does so under."""

    config: Mapping[str, object]
    student: StudentArchitecture
    teacher: StudentArchitecture

    def layer_pairs(self) -> tuple[tuple[int, int], ...]:
        """(student layer, teacher layer) of the hidden-state mapping, counted from 1."""
        return resolve_mapping(str(self.config["mapping"]), self.student.num_layers, self.teacher.num_layers)


@dataclass(frozen=True)
class Batch:
    """What besides the signals a loss may look at; mask_BT is None when no position is padding."""

    mask_BT: Tensor | None = None
    labels_N: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """A loss and what it asks for.

    wants: pairing -> (wanted of the student, wanted of the teacher).
    projections: pairing -> name -> (student width, teacher width) of the learned maps, thrown away after training.
    loss: (student signals, teacher signals, projections by name, batch, pairing) -> scalar.
    """

    wants: Callable[[Pairing], tuple[Wanted, Wanted]]
    projections: Callable[[Pairing], dict[str, tuple[int, int]]]
    loss: Callable[[Signals, Signals, Mapping[str, Tensor], Batch, Pairing], Tensor]


def want_logits(pairing: Pairing) -> tuple[Wanted, Wanted]:
    """Logits of both."""
    return Wanted(logits=True), Wanted(logits=True)


def want_student_logits(pairing: Pairing) -> tuple[Wanted, Wanted]:
    """Logits of the student, nothing of the teacher."""
    return Wanted(logits=True), Wanted()


def want_hidden(pairing: Pairing) -> tuple[Wanted, Wanted]:
    """The mapped layers of both."""
    ours, theirs = zip(*pairing.layer_pairs(), strict=True)
    return Wanted(hidden=frozenset(ours)), Wanted(hidden=frozenset(theirs))


def want_qkv(pairing: Pairing) -> tuple[Wanted, Wanted]:
    """Q, K, V of the student's last layer and of the configured teacher layer."""
    return Wanted(qkv_layer=pairing.student.num_layers), Wanted(qkv_layer=int(str(pairing.config["teacher_layer"])))


def no_projections(pairing: Pairing) -> dict[str, tuple[int, int]]:
    """For losses that compare distributions, whose sizes agree by themselves."""
    return {}


def hidden_projections(pairing: Pairing) -> dict[str, tuple[int, int]]:
    """One map for each pair of layers."""
    widths = (pairing.student.hidden_size, pairing.teacher.hidden_size)
    return {f"hidden_{ours}_{theirs}": widths for ours, theirs in pairing.layer_pairs()}


def direct_projections(pairing: Pairing) -> dict[str, tuple[int, int]]:
    """One map each for Q, K and V."""
    return {name: (pairing.student.hidden_size, pairing.teacher.hidden_size) for name in QKV}


def present(value: T | None) -> T:
    """A signal that was asked for; None here is our own mistake."""
    assert value is not None, "a loss asked for a signal that was not read"
    return value


def od(student: Signals, teacher: Signals, maps: Mapping[str, Tensor], batch: Batch, pairing: Pairing) -> Tensor:
    """`output_distribution_loss` at the masked positions."""
    temperature = float(str(pairing.config["temperature"]))
    return output_distribution_loss(present(student.head), present(teacher.head), temperature)


def hs(student: Signals, teacher: Signals, maps: Mapping[str, Tensor], batch: Batch, pairing: Pairing) -> Tensor:
    """`hidden_state_loss` over the mapped layers."""
    pairs = [(full(student.hidden[i]) @ maps[f"hidden_{i}_{j}"], teacher.hidden[j]) for i, j in pairing.layer_pairs()]
    return hidden_state_loss(pairs, batch.mask_BT)


def mha(student: Signals, teacher: Signals, maps: Mapping[str, Tensor], batch: Batch, pairing: Pairing) -> Tensor:
    """`relation_loss` of the student's last layer against the configured teacher layer."""
    assert student.qkv is not None and teacher.qkv is not None
    return relation_loss(student.qkv, teacher.qkv, batch.mask_BT, int(str(pairing.config["relation_heads"])))


def mha_direct(
    student: Signals, teacher: Signals, maps: Mapping[str, Tensor], batch: Batch, pairing: Pairing
) -> Tensor:
    """`direct_loss` of the student's last layer against the configured teacher layer."""
    assert student.qkv is not None and teacher.qkv is not None
    pairs = [(full(x) @ maps[name], y) for name, x, y in zip(QKV, student.qkv, teacher.qkv, strict=True)]
    return direct_loss(pairs, batch.mask_BT)


def mlm(student: Signals, teacher: Signals, maps: Mapping[str, Tensor], batch: Batch, pairing: Pairing) -> Tensor:
    """`masked_lm_loss` at the masked positions."""
    return masked_lm_loss(present(student.head), present(batch.labels_N))


OBJECTIVES: dict[str, Objective] = {
    "od": Objective(want_logits, no_projections, od),
    "hs": Objective(want_hidden, hidden_projections, hs),
    "mha": Objective(want_qkv, no_projections, mha),
    "mha_direct": Objective(want_qkv, direct_projections, mha_direct),
    "mlm": Objective(want_student_logits, no_projections, mlm),
}


def joined(wants: Sequence[Wanted]) -> Wanted:
    """Everything that any of the terms of a method wants."""
    return Wanted(
        hidden=frozenset[int]().union(*(want.hidden for want in wants)),
        qkv_layer=next((want.qkv_layer for want in wants if want.qkv_layer), None),
        logits=any(want.logits for want in wants),
    )
