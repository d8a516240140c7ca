"""Squared errors between mapped states of a student and those of the teacher, mean per valid position.

Shapes: B batch, T tokens, N positions of a batch, C positions of a chunk, D student width, E teacher width.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainables.losses.fused import full_dtype, slices

CHUNK_CPU = 2**18  # errors per chunk: 1 MiB of float32 stays near the processor, and the products cost no more
CHUNK_GPU = 2**25


def full(x: Tensor) -> Tensor:
    """In the dtype that losses are summed in: see `full_dtype`."""
    return x.to(full_dtype(x))


def mapped_mse(student_BTD: Tensor, map_DE: Tensor, teacher_BTE: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Squared error of the mapped student, mean over width and valid positions. The teacher gets no gradient."""
    return MappedError.apply(student_BTD, map_DE, teacher_BTE, mask_BT)


class MappedError(torch.autograd.Function):
    """Mean over width and valid positions of (X W - Y)^2, with its gradients in the same pass.

    The residual R = X W - Y is made for a chunk of positions at a time and used at once: its squares are the loss,
    R W^T the gradient for X and X^T R that for W, both times 2 / (valid positions x E). Padded rows of R are 0.
    """

    @staticmethod
    def forward(ctx, student_BTD: Tensor, map_DE: Tensor, teacher_BTE: Tensor, mask_BT: Tensor | None) -> Tensor:  # type: ignore[override]
        """Summed in float32 at least, whatever the inputs are."""
        dtype, ctx.kinds = full_dtype(student_BTD, map_DE, teacher_BTE), (student_BTD.dtype, map_DE.dtype)
        student_ND, map_DE = student_BTD.flatten(0, 1).to(dtype), map_DE.to(dtype)
        teacher_NE = teacher_BTE.flatten(0, 1)
        padding_N1 = None if mask_BT is None else ~mask_BT.bool().view(-1, 1)
        on_cpu, width = student_ND.device.type == "cpu", teacher_NE.shape[1]
        rows = max(1, (CHUNK_CPU if on_cpu else CHUNK_GPU) // width)
        spare_CE = student_ND.new_empty(min(rows, len(student_ND)), width)
        total = student_ND.new_zeros(())
        to_student_ND = torch.empty_like(student_ND) if ctx.needs_input_grad[0] else None
        to_map_DE = torch.zeros_like(map_DE) if ctx.needs_input_grad[1] else None
        with torch.autocast(student_ND.device.type, enabled=False):
            for chunk in slices(len(student_ND), rows):
                residual_CE = spare_CE[: chunk.stop - chunk.start].copy_(teacher_NE[chunk])
                torch.addmm(residual_CE, student_ND[chunk], map_DE, beta=-1, out=residual_CE)
                if padding_N1 is not None:
                    residual_CE.masked_fill_(padding_N1[chunk], 0.0)
                total += torch.dot(residual_CE.view(-1), residual_CE.view(-1))
                if to_student_ND is not None:
                    torch.mm(residual_CE, map_DE.T, out=to_student_ND[chunk])
                if to_map_DE is not None:
                    to_map_DE.addmm_(student_ND[chunk].T, residual_CE)
        valid = len(student_ND) if mask_BT is None else mask_BT.bool().sum(dtype=dtype)
        ctx.errors = valid * width
        ctx.save_for_backward(None if to_student_ND is None else to_student_ND.view(student_BTD.shape), to_map_DE)
        return total / ctx.errors

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor):  # type: ignore[override]
        """The gradients were made with the loss; only the scale is new."""
        scale, pairs = 2 * grad_output / ctx.errors, zip(ctx.saved_tensors, ctx.kinds, strict=True)
        return *(None if x is None else (x * scale).to(kind) for x, kind in pairs), None, None
