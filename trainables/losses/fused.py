"""Losses that compute their gradient in the same pass, chunk by chunk: no length x length tensor for all heads, no
positions x vocabulary tensor for all positions is ever held.

Everything is summed in float32 at least, whatever the inputs are, and both sides of a divergence go through the same
operations on buffers of the same layout, so that equal inputs give exactly 0.
Shapes: B batch, T tokens, D student width, E teacher width, R relation heads, U units (one relation head of one text),
H width of a relation head, I rows of a chunk; N positions, C positions of a chunk, V vocabulary.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_CPU = 2**17  # scores per thread: three such buffers of float32 stay in cache, and calls cost little
CHUNK_GPU = 2**25  # scores per chunk: enough to fill a device, 128 MiB of float32 for each buffer
LOGITS_CPU = 2**22  # logits per chunk: a chunk is multiplied with the whole vocabulary, so that more rows cost less
LOGITS_GPU = 2**25
FEWEST_POSITIONS = 16
WIDEST_KERNEL_HEAD = 128


def full_dtype(*tensors: Tensor) -> torch.dtype:
    """At least float32: half precision is good enough for a model's signals, not for sums over thousands of them."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def slices(length: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover `length`."""
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


class RelationDivergence(torch.autograd.Function):
    """Mean over relation heads and valid rows of KL(relations of the teacher || relations of the student).

    With A = X_T X_T^T / sqrt(d_T), B likewise for the student and P, Q their softmax, a row of the divergence is
    sum(P (A - B)) - (lse A - lse B), and its gradient for B is Q - P; since B is made of X_S twice, X_S gets
    (G + G^T) X_S / sqrt(d_S) with G = Q - P. Padded tokens are set to 0 and their columns to probability 0, so that
    padded rows are the same on both sides and add exactly nothing. So have columns that a token does not see.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx, student_BTD: Tensor, teacher_BTE: Tensor, mask_BT: Tensor | None, heads: int, window: int | None,
        causal: bool,
    ) -> Tensor:  # fmt: skip
        """Only the student gets a gradient."""
        batch, tokens, width = student_BTD.shape
        inputs = (student_BTD, teacher_BTE, mask_BT, heads, ctx.needs_input_grad[0])
        if window is None and not causal and has_kernels(student_BTD, teacher_BTE, heads):
            from trainables.losses.relation_kernels import relations

            total, gradient_BTD = relations(*inputs)
        else:
            total, gradient_BTD = relations_by_chunk(*inputs, window, causal)
        valid = batch * tokens if mask_BT is None else mask_BT.bool().sum(dtype=total.dtype)
        ctx.rows, ctx.head, ctx.kind = valid * heads, width // heads, student_BTD.dtype
        ctx.save_for_backward(gradient_BTD)
        return total / ctx.rows

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor):  # type: ignore[override]
        """The gradient was made with the loss; only the scale is new."""
        (gradient_BTD,) = ctx.saved_tensors
        return (gradient_BTD * (grad_output * ctx.head**-0.5 / ctx.rows)).to(ctx.kind), None, None, None, None, None


def has_kernels(student_BTD: Tensor, teacher_BTE: Tensor, heads: int) -> bool:
    """Whether Triton makes these relations: narrow heads in single or half precision, where Triton works."""
    return (
        student_BTD.device.type == "cuda"
        and full_dtype(student_BTD, teacher_BTE) == torch.float32
        and max(student_BTD.shape[-1], teacher_BTE.shape[-1]) <= WIDEST_KERNEL_HEAD * heads
        and triton_works(student_BTD.device)
    )


@cache
def triton_works(device: torch.device) -> bool:
    """It comes with the CUDA builds of torch, and calls a C compiler when a kernel is first used."""
    compiler = os.environ.get("CC") or shutil.which("clang") or shutil.which("gcc")
    return (
        torch.version.cuda is not None
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and find_spec("triton") is not None
        and compiler is not None
    )


def relations_by_chunk(
    student_BTD: Tensor,
    teacher_BTE: Tensor,
    mask_BT: Tensor | None,
    heads: int,
    with_gradient: bool,
    window: int | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """(sum over valid rows and heads of the divergence, its gradient BTD but for the factor 1 / sqrt(d_S))."""
    batch, tokens, width = student_BTD.shape
    total = torch.zeros((), dtype=full_dtype(student_BTD, teacher_BTE), device=student_BTD.device)
    rows, chunk, texts = chunk_sizes(tokens, heads, on_cpu=total.device.type == "cpu")
    buffers = [total.new_empty(min(chunk, min(texts, batch) * heads) * rows * tokens) for _ in range(3)]
    gradient_BTD = total.new_empty(student_BTD.shape) if with_gradient else None
    beyond_TT = beyond(window, causal, tokens, total.device) if causal or window is not None else None
    with torch.autocast(total.device.type, enabled=False):
        for some in slices(batch, texts):
            padding_BT = None if mask_BT is None else ~mask_BT[some].bool()
            bias_U1T = None if padding_BT is None else column_bias(padding_BT, heads, total)
            theirs_UHT = by_head(teacher_BTE[some], padding_BT, heads, total)
            ours_UHT = by_head(student_BTD[some], padding_BT, heads, total)
            sums_UHT = torch.zeros_like(ours_UHT)
            for units in slices(len(ours_UHT), chunk):
                sums, bias = sums_UHT[units] if with_gradient else None, None if bias_U1T is None else bias_U1T[units]
                for span in slices(tokens, rows):
                    add_chunk(total, sums, ours_UHT[units], theirs_UHT[units], bias, beyond_TT, span, buffers)
            if gradient_BTD is not None:
                gradient_BTD[some] = sums_UHT.view(-1, width, tokens).mT
    return total, gradient_BTD


def chunk_sizes(tokens: int, heads: int, on_cpu: bool) -> tuple[int, int, int]:
    """(rows, units, texts) of a chunk: some rows of one unit where texts are long, all rows of several where short."""
    scores = CHUNK_CPU if on_cpu else CHUNK_GPU
    rows = max(1, min(tokens, scores // tokens))  # whatever the number of threads: it must not move gradients
    units = max(1, scores * (torch.get_num_threads() if on_cpu else 1) // (rows * tokens))
    return rows, units, 1 if on_cpu else max(1, units // heads)


def beyond(window: int | None, causal: bool, tokens: int, device: torch.device) -> Tensor:
    """Pairs of tokens, TT, of which the first does not see the second: outside a window about it, or after it."""
    places_T = torch.arange(tokens, device=device)
    after_TT = places_T - places_T[:, None]
    beyond_TT = torch.zeros_like(after_TT).bool() if window is None else after_TT.abs() > window // 2
    return beyond_TT | (after_TT > 0) if causal else beyond_TT


def column_bias(padding_BT: Tensor, heads: int, like: Tensor) -> Tensor:
    """What takes padded columns out of the softmax, for each unit; finite: their term must be 0 * 0, not 0 * inf."""
    bias_BT = like.new_zeros(padding_BT.shape).masked_fill_(padding_BT, torch.finfo(like.dtype).min / 2)
    return bias_BT.repeat_interleave(heads, 0).unsqueeze(1)


def by_head(x_BTD: Tensor, padding_BT: Tensor | None, heads: int, like: Tensor) -> Tensor:
    """UHT: the tokens of each unit side by side, the layout in which every product below is fast for narrow heads."""
    batch, tokens, width = x_BTD.shape
    x_BDT = like.new_empty(batch, width, tokens).copy_(x_BTD.mT)
    if padding_BT is not None:
        x_BDT.masked_fill_(padding_BT[:, None, :], 0.0)
    return x_BDT.view(batch * heads, width // heads, tokens)


def add_chunk(
    total: Tensor, sums_UHT: Tensor | None, ours_UHT: Tensor, theirs_UHT: Tensor, bias_U1T: Tensor | None,
    beyond_TT: Tensor | None, span: slice, buffers: list[Tensor],
) -> None:  # fmt: skip
    """The rows `span` of some units; the three buffers are all that is as large as the relations of the chunk."""
    shape = (len(ours_UHT), span.stop - span.start, ours_UHT.shape[-1])
    theirs, ours, spare = (buffer[: shape[0] * shape[1] * shape[2]].view(shape) for buffer in buffers)
    for x_UHT, scores_UIT in ((theirs_UHT, theirs), (ours_UHT, ours)):
        torch.baddbmm(scores_UIT, x_UHT[:, :, span].mT, x_UHT, beta=0, alpha=x_UHT.shape[1] ** -0.5, out=scores_UIT)
        if bias_U1T is not None:
            scores_UIT += bias_U1T
        if beyond_TT is not None:
            scores_UIT.masked_fill_(beyond_TT[span], torch.finfo(scores_UIT.dtype).min / 2)
    total += divergence(theirs, ours, spare).sum()
    if sums_UHT is not None:
        gradient_UIT = theirs.sub_(spare)
        sums_UHT.baddbmm_(ours_UHT[:, :, span], gradient_UIT)
        sums_UHT[:, :, span].baddbmm_(ours_UHT, gradient_UIT.mT)


def divergence(theirs: Tensor, ours: Tensor, spare: Tensor) -> Tensor:
    """KL(softmax(theirs) || softmax(ours)) over the last dimension; spends all three.

    Leaves softmax(ours) in `theirs` and softmax(theirs) in `spare`: their difference is the gradient for `ours`.
    """
    top_theirs, top_ours = theirs.amax(-1), ours.amax(-1)
    torch.softmax(theirs, -1, out=spare)
    rows = theirs.sub_(ours).mul_(spare).sum(-1)
    torch.softmax(ours, -1, out=theirs)
    # The log-sum-exp of a row is its largest score less the logarithm of its largest probability.
    return rows - ((top_theirs - spare.amax(-1).log_()) - (top_ours - theirs.amax(-1).log_()))


Criterion = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""(logits CV, which positions these are) -> (sum of the losses, its gradient CV); may spend the logits."""


class Decoded(torch.autograd.Function):
    """Mean over positions of a criterion of the logits `words @ weight.T + bias`, which never exist all at once."""

    @staticmethod
    def forward(ctx, criterion: Criterion, words_ND: Tensor, weight_VD: Tensor, bias_V: Tensor) -> Tensor:  # type: ignore[override]
        """The product is made in the dtype of the words, everything after it in float32 at least."""
        dtype, device, (positions, _) = full_dtype(words_ND, bias_V), words_ND.device, words_ND.shape
        ctx.kinds = [x.dtype for x in (words_ND, weight_VD, bias_V)]
        ctx.positions = positions
        sums = [
            torch.zeros(x.shape, dtype=dtype, device=device) if wanted else None
            for x, wanted in zip((words_ND, weight_VD, bias_V), ctx.needs_input_grad[1:], strict=True)
        ]
        total = torch.zeros((), dtype=dtype, device=device)
        with torch.autocast(device.type, enabled=False):
            weight_VD = weight_VD.to(words_ND.dtype)
            for chunk in slices(positions, positions_per_chunk(weight_VD)):
                words_CD = words_ND[chunk]
                loss, gradient_CV = criterion(decode(words_CD, weight_VD, bias_V), chunk)
                total += loss
                narrow_CV = gradient_CV.to(words_CD.dtype)
                if sums[0] is not None:
                    sums[0][chunk] = narrow_CV @ weight_VD
                if sums[1] is not None and dtype == words_CD.dtype:
                    sums[1].addmm_(narrow_CV.T, words_CD)
                elif sums[1] is not None:
                    sums[1] += narrow_CV.T @ words_CD
                if sums[2] is not None:
                    sums[2] += gradient_CV.sum(0)
        ctx.save_for_backward(*sums)
        return total / positions

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor):  # type: ignore[override]
        """The gradients were made with the loss; only the scale is new."""
        scale = grad_output / ctx.positions
        ours = (
            None if x is None else (x * scale).to(kind) for x, kind in zip(ctx.saved_tensors, ctx.kinds, strict=True)
        )
        return None, *ours


def decode(words_CD: Tensor, weight_VD: Tensor, bias_V: Tensor) -> Tensor:
    """Logits CV in float32 at least; the weight already has the dtype of the words."""
    dtype = full_dtype(words_CD, bias_V)
    if dtype == words_CD.dtype:
        return torch.addmm(bias_V.to(dtype), words_CD, weight_VD.T)
    return (words_CD @ weight_VD.T).to(dtype).add_(bias_V)


def positions_per_chunk(weight_VD: Tensor) -> int:
    """How many positions are decoded at a time."""
    return max(FEWEST_POSITIONS, (LOGITS_CPU if weight_VD.device.type == "cpu" else LOGITS_GPU) // len(weight_VD))


def soft_targets(words_NE: Tensor, weight_VE: Tensor, bias_V: Tensor, temperature: float) -> Criterion:
    """tau^2 KL(softmax(z / tau) || softmax(logits / tau)) where z are the logits of these words: `Decoded` decodes the
    student, this the teacher, chunk by chunk."""
    weight_VE = weight_VE.to(words_NE.dtype)

    def criterion(logits_CV: Tensor, chunk: slice) -> tuple[Tensor, Tensor]:
        theirs_CV = decode(words_NE[chunk], weight_VE, bias_V).div_(temperature)
        spare_CV = torch.empty_like(logits_CV)
        loss = divergence(theirs_CV, logits_CV.div_(temperature), spare_CV).sum()
        return loss * temperature**2, theirs_CV.sub_(spare_CV).mul_(temperature)

    return criterion


def hard_targets(labels_N: Tensor) -> Criterion:
    """Cross entropy of the words that stand at the positions."""

    def criterion(logits_CV: Tensor, chunk: slice) -> tuple[Tensor, Tensor]:
        labels_C1 = labels_N[chunk, None]
        right_C, top_C = logits_CV.gather(1, labels_C1)[:, 0], logits_CV.amax(-1)
        gradient_CV = torch.softmax(logits_CV, -1)
        loss = ((top_C - gradient_CV.amax(-1).log_()) - right_C).sum()
        return loss, gradient_CV.scatter_add_(1, labels_C1, gradient_CV.new_full(labels_C1.shape, -1.0))

    return criterion
