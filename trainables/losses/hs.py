"""`hs`, hidden-state transfer: layers of the student learn the hidden states of teacher layers, through learned maps.

TinyBERT, arXiv:1909.10351; which layer learns from which: Udagawa et al., arXiv:2310.08797.
Shapes: B batch, T tokens, D student width, E teacher width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spaces.errors import InfeasibleConfig
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.axis import Axis, Rule, Scalar, text
from spaces.students.layer_mapping import HELD, MAPPINGS, NAMES, canonical_mapping, resolve_mapping
from spaces.students.transfer import Pairing, TransferMethod
from trainables.losses.loss import Batch, Loss, Maps, Projection
from trainables.losses.regression import mapped_mse
from trainables.models.signals import HIDDEN, Signals


def hidden_state_loss(
    mapped: Sequence[tuple[Tensor, Tensor, Tensor]], mask_BT: Tensor | None, squares: Sequence[float] | None = None
) -> Tensor:
    """Mean over pairs of MSE(H_S W, H_T); of each pair (student BTD, map DE, teacher BTE) (TinyBERT, eq. 8).

    squares: the mean square of each pair's H_T, in units of which its error is taken. Without them the error of a
    stream that grows from layer to layer would be that of its highest layer.
    """
    errors = torch.stack([mapped_mse(*each, mask_BT) for each in mapped])
    return (errors if squares is None else errors / errors.new_tensor(squares)).mean()


def loss(pairing: Pairing) -> Loss:
    """`hidden_state_loss` over the pairs of the mapping, a projection for each."""
    depths = (pairing.student.num_layers, pairing.teacher.num_layers)
    pairs = resolve_mapping(pairing.config["mapping"], *depths, pairing.held)
    projection = Projection(pairing.student.hidden_size, pairing.teacher.hidden_size, of_states=True)

    def value(student: Signals, teacher: Signals, maps: Maps, batch: Batch) -> Tensor:
        mapped = [(student[HIDDEN, i], maps[f"hidden_{i}_{j}"], teacher[HIDDEN, j]) for i, j in pairs]
        squares = [batch.squares[j] for _, j in pairs] if batch.squares else None
        return hidden_state_loss(mapped, batch.mask_BT, squares)

    return Loss(
        student=tuple(dict.fromkeys((HIDDEN, i) for i, _ in pairs)),
        teacher=tuple(dict.fromkeys((HIDDEN, j) for _, j in pairs)),
        value=value,
        projections={f"hidden_{i}_{j}": projection for i, j in pairs},
    )


def default_mappings(teacher: TeacherFacts) -> tuple[str, ...]:
    """`held` alone: a start that has to become other layers than it holds loses by it (docs/results/starts.md)."""
    return (HELD,)


def unfit_mapping(mapping: str, student: StudentArchitecture, teacher: TeacherFacts) -> str | None:
    """Mappings fit depths."""
    try:
        resolve_mapping(mapping, student.num_layers, teacher.architecture.num_layers)
    except InfeasibleConfig as error:
        return str(error)
    return None


def same_pairs(
    mapping: str, choices: tuple[Scalar, ...], student: StudentArchitecture, teacher: TeacherFacts
) -> Scalar | None:
    """Two mappings may give the same pairs, above all when student and teacher are equally deep.

    Named mappings go before explicit pairs, in the order of MAPPINGS. What is held depends on the start.
    """
    if mapping == HELD:
        return None
    depths = (student.num_layers, teacher.architecture.num_layers)
    order = [*MAPPINGS, *sorted(str(choice) for choice in choices if choice not in NAMES)]
    for earlier in order[: order.index(mapping)]:
        if earlier not in choices or unfit_mapping(earlier, student, teacher):
            continue
        if resolve_mapping(earlier, *depths) == resolve_mapping(mapping, *depths):
            return earlier
    return None


MAPPING = Axis(
    "mapping", str, text(canonical_mapping), "layer mapping of hidden-state transfer", default=default_mappings,
    rules=(Rule("a mapping must fit the depths of student and teacher", unfit_mapping),), same_as=same_pairs,
)  # fmt: skip
HS = TransferMethod(
    "hs", "hidden states of mapped layers", "arXiv:1909.10351", loss, signals=("hidden",), axes=(MAPPING,)
)
