"""`mha`, attention-relation transfer: how tokens relate in the queries, keys and values of one layer (MiniLMv2,
arXiv:2012.15828).

Shapes: B batch, T tokens, D width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from spaces.students.architecture import StudentArchitecture, TeacherFacts, divisors
from spaces.students.axis import Axis, Rule, whole
from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.fused import RelationDivergence
from trainables.losses.loss import Batch, Loss, Maps
from trainables.models.signals import QKV, Signals


def relation_loss(
    student_qkv: Sequence[Tensor],
    teacher_qkv: Sequence[Tensor],
    mask_BT: Tensor | None,
    relation_heads: int,
    window: int | None = None,
    causal: bool = False,
) -> Tensor:
    """MiniLMv2 (Wang et al. 2021, eq. 4 to 6): sum over X in Q, K, V of the mean over relation heads and valid rows of
    KL(softmax(X_T X_T^T / sqrt(d_r)) || softmax(X_S X_S^T / sqrt(d_r))).

    student_qkv, teacher_qkv: three BTD each, all attention heads side by side. On each side d_r = width /
    relation_heads; the widths need not agree, but relation_heads must divide both. For a layer whose attention sees
    no others: window, each token's relations to as many tokens about it alone, itself included; causal, to those before
    it and itself alone.
    """
    terms = mask_BT, relation_heads, window, causal
    pairs = zip(student_qkv, teacher_qkv, strict=True)
    return torch.stack([RelationDivergence.apply(*pair, *terms) for pair in pairs]).sum()


def loss(pairing: Pairing) -> Loss:
    """`relation_loss` of the student's last layer against the configured teacher layer, among the tokens that both see.

    Relations to others are used by one of them at most: the narrower window counts, and none to what comes after.
    """
    ours, theirs = (QKV, pairing.student.num_layers), (QKV, int(pairing.config["teacher_layer"]))
    relation_heads = int(pairing.config["relation_heads"])
    windows = pairing.attention.windows.get(theirs[1]), pairing.student_attention.windows.get(ours[1])
    window = min((each for each in windows if each is not None), default=None)
    causal = pairing.attention.causal or pairing.student_attention.causal

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        return relation_loss(student[ours], teacher[theirs], batch.mask_BT, relation_heads, window, causal)

    return Loss((ours,), (theirs,), value)


def default_relation_heads(teacher: TeacherFacts) -> tuple[int, ...]:
    """The teacher's attention heads, and counts about those of MiniLMv2."""
    return tuple(sorted({teacher.architecture.num_heads, 12, 24, 48, 64}))


def uneven_teacher(heads: int, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """The teacher's Q, K and V split evenly."""
    return uneven_split(heads, widths(student, teacher), 1, "the teacher's")


def uneven_student(heads: int, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """The student's Q, K and V split evenly."""
    return uneven_split(heads, widths(student, teacher), 0, "the student's")


def widths(student: StudentArchitecture, teacher: TeacherFacts) -> tuple[int, int]:
    """Of the queries of student and teacher."""
    own, theirs = teacher.as_family(student.family).family, teacher.architecture
    return (
        own.attention_facts(student).width_of(student.hidden_size),
        teacher.family.attention_facts(theirs).width_of(theirs.hidden_size),
    )


def uneven_split(heads: int, both: tuple[int, int], which: int, whose: str) -> str | None:
    """Say that `heads` does not divide one of two widths, and which count nearest to it divides both."""
    if both[which] % heads == 0:
        return None
    legal = divisors(math.gcd(*both))
    return (
        f"relation heads must divide {whose} width {both[which]}, got {heads}; nearest that divides both widths: "
        f"{min(legal, key=lambda count: abs(count - heads))}"
    )


def default_teacher_layers(teacher: TeacherFacts) -> tuple[int, ...]:
    """The last three: of deep teachers an upper middle layer may teach better than the last (MiniLMv2).

    Of a teacher with local layers, the last three that see everything: what a student of fewer layers must hold.
    """
    depth = teacher.architecture.num_layers
    windows = teacher.family.attention_facts(teacher.architecture).windows
    layers = [each for each in range(depth, 0, -1) if each not in windows]
    return tuple(layers[:3])


def beyond_teacher(layer: int, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Teacher layers are counted from 1."""
    layers = teacher.architecture.num_layers
    if 1 <= layer <= layers:
        return None
    return f"teacher_layer must be within 1 to {layers}, got {layer}; nearest legal: {min(max(layer, 1), layers)}"


RELATION_HEADS = Axis(
    "relation_heads", int, whole, "relation heads of MHA transfer", "heads", default=default_relation_heads,
    rules=(
        Rule("relation heads divide the teacher's width", uneven_teacher),
        Rule("relation heads divide the student's width", uneven_student),
    ),
)  # fmt: skip
TEACHER_LAYER = Axis(
    "teacher_layer", int, whole, "teacher layer that attention is transferred from, counted from 1", "layer",
    default=default_teacher_layers, rules=(Rule("teacher_layer lies within the teacher", beyond_teacher),),
)  # fmt: skip
MHA = TransferMethod(
    "mha", "relations of queries, keys and values", "arXiv:2012.15828", loss, signals=("qkv",),
    axes=(RELATION_HEADS, TEACHER_LAYER), mixes=True,
)  # fmt: skip
