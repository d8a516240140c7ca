"""Squared errors between states of student and teacher, mean per valid position.

Shapes: B batch, T tokens, D width.
"""

from torch import Tensor

from trainables.losses.fused import full_dtype


def full(x: Tensor) -> Tensor:
    """In the dtype that losses are summed in: see `full_dtype`."""
    return x.to(full_dtype(x))


def masked_mse(student_BTD: Tensor, teacher_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Squared error, mean over width and valid positions."""
    error_BT = (full(student_BTD) - full(teacher_BTD)).square().mean(-1)
    if mask_BT is None:
        return error_BT.mean()
    return (error_BT * mask_BT).sum() / mask_BT.sum()
