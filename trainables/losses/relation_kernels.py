"""The relation loss on an NVIDIA GPU: two Triton kernels, in which no relation ever leaves the registers.

The scores A = X_T X_T^T / sqrt(d_T), and B of the student, are symmetric, so that one tile of them serves rows and
columns. The first kernel finds each row's log-sum-exp and divergence as attention kernels do (online softmax, Milakov
and Gimelshein 2018, arXiv:1805.02867); the second makes the tiles again, and with P, Q from the log-sum-exps of both
sides it adds (G + G^T) X_S, G = Q - P, without a transposed pass or an atomic operation. What is allocated are two
numbers a row and the gradient.

This module imports Triton, which CPU builds of torch do not bring; `has_kernels` in fused.py asks first.
Shapes: B batch, T tokens, D student width, E teacher width, U units (one relation head of one text).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK, WARPS = 32, 2  # the fastest of those that Triton 3.6 compiles rightly; 64 rows on 8 warps go out of bounds
NARROWEST = 16  # of a product on tensor cores; narrower heads are filled up with zeros
SIZES = ["length", "heads", "ours_width", "theirs_width"]  # one kernel for all of them


@triton.jit
def kept(mask, batch, tokens, length):
    """Which of these tokens count."""
    return tl.load(mask + batch * length + tokens, mask=tokens < length, other=0) != 0


@triton.jit
def place(mask, length, heads, ROWS: tl.constexpr):
    """(unit, text, head, rows of this program, which of these count)."""
    blocks = tl.cdiv(length, ROWS)
    unit, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    batch, head = unit // heads, unit % heads
    i = block * ROWS + tl.arange(0, ROWS)
    return unit, batch, head, i, kept(mask, batch, i, length)


@triton.jit
def head_of(x, batch, head, width, tokens, valid, stride_b, stride_t, PADDED: tl.constexpr):
    """The tokens of one relation head; what does not count is never read, and 0."""
    within = tl.arange(0, PADDED)
    at = x + batch.to(tl.int64) * stride_b + tokens[:, None] * stride_t + (head * width + within)[None, :]
    return tl.load(at, mask=valid[:, None] & (within < width)[None, :], other=0.0)


@triton.jit
def tile(rows, columns, scale, PRECISION: tl.constexpr):
    """Scores of rows against columns, in float32."""
    return tl.dot(rows, tl.trans(columns), input_precision=PRECISION) * scale


@triton.jit
def online(scores, top, total):
    """(largest score, sum of exponentials, the exponentials, what older sums are multiplied with)."""
    higher = tl.maximum(top, tl.max(scores, 1))
    weights, older = tl.exp(scores - higher[:, None]), tl.exp(top - higher)
    return higher, total * older + tl.sum(weights, 1), weights, older


@triton.jit(do_not_specialize=SIZES)
def row_kernel(
    ours, theirs, mask, ours_lse, theirs_lse, divergences, length, heads, ours_width, theirs_width, ours_scale,
    theirs_scale, ours_b, ours_t, theirs_b, theirs_t,
    OURS: tl.constexpr, THEIRS: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Both log-sum-exps of each row, and the divergence of the rows of this block."""
    unit, batch, head, i, counts_i = place(mask, length, heads, ROWS)
    ours_i = head_of(ours, batch, head, ours_width, i, counts_i, ours_b, ours_t, OURS)
    theirs_i = head_of(theirs, batch, head, theirs_width, i, counts_i, theirs_b, theirs_t, THEIRS)
    # Finite, so that a block of padding before the first token adds something that is later multiplied with 0.
    top_a, top_b = tl.full([ROWS], -1e30, tl.float32), tl.full([ROWS], -1e30, tl.float32)
    sum_a, sum_b, crossed = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    for start in range(0, length, ROWS):
        j = start + tl.arange(0, ROWS)
        counts_j = kept(mask, batch, j, length)
        ours_j = head_of(ours, batch, head, ours_width, j, counts_j, ours_b, ours_t, OURS)
        theirs_j = head_of(theirs, batch, head, theirs_width, j, counts_j, theirs_b, theirs_t, THEIRS)
        a = tl.where(counts_j[None, :], tile(theirs_i, theirs_j, theirs_scale, PRECISION), -1e30)
        b = tl.where(counts_j[None, :], tile(ours_i, ours_j, ours_scale, PRECISION), -1e30)
        top_a, sum_a, weights, older = online(a, top_a, sum_a)
        crossed = crossed * older + tl.sum(weights * (a - b), 1)
        top_b, sum_b, _, _ = online(b, top_b, sum_b)
    lse_a, lse_b = top_a + tl.log(sum_a), top_b + tl.log(sum_b)
    rows = tl.where(counts_i, crossed / sum_a - (lse_a - lse_b), 0.0)
    tl.store(divergences + tl.program_id(0), tl.sum(rows, 0))
    at = unit.to(tl.int64) * length + i
    tl.store(theirs_lse + at, lse_a, mask=i < length)
    tl.store(ours_lse + at, lse_b, mask=i < length)


@triton.jit(do_not_specialize=SIZES)
def gradient_kernel(
    ours, theirs, mask, ours_lse, theirs_lse, gradient, length, heads, ours_width, theirs_width, ours_scale,
    theirs_scale, ours_b, ours_t, theirs_b, theirs_t,
    OURS: tl.constexpr, THEIRS: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(G + G^T) X_S for the rows of this block; padded rows get 0."""
    unit, batch, head, i, counts_i = place(mask, length, heads, ROWS)
    ours_i = head_of(ours, batch, head, ours_width, i, counts_i, ours_b, ours_t, OURS)
    theirs_i = head_of(theirs, batch, head, theirs_width, i, counts_i, theirs_b, theirs_t, THEIRS)
    lse = unit.to(tl.int64) * length
    lse_a_i = tl.load(theirs_lse + lse + i, mask=i < length, other=0.0)
    lse_b_i = tl.load(ours_lse + lse + i, mask=i < length, other=0.0)
    sums = tl.zeros([ROWS, OURS], tl.float32)
    for start in range(0, length, ROWS):
        j = start + tl.arange(0, ROWS)
        counts_j = kept(mask, batch, j, length)
        ours_j = head_of(ours, batch, head, ours_width, j, counts_j, ours_b, ours_t, OURS)
        theirs_j = head_of(theirs, batch, head, theirs_width, j, counts_j, theirs_b, theirs_t, THEIRS)
        lse_a_j = tl.load(theirs_lse + lse + j, mask=j < length, other=0.0)
        lse_b_j = tl.load(ours_lse + lse + j, mask=j < length, other=0.0)
        a, b = tile(theirs_i, theirs_j, theirs_scale, PRECISION), tile(ours_i, ours_j, ours_scale, PRECISION)
        # In this order equal sides give exactly 0.
        g = tl.exp(b - lse_b_i[:, None]) - tl.exp(a - lse_a_i[:, None])
        g += tl.exp(b - lse_b_j[None, :]) - tl.exp(a - lse_a_j[None, :])
        g = tl.where(counts_i[:, None] & counts_j[None, :], g, 0.0)
        sums += tl.dot(g, ours_j.to(tl.float32), input_precision=PRECISION)
    within = tl.arange(0, OURS)
    at = gradient + unit.to(tl.int64) // heads * length * heads * ours_width
    at += i.to(tl.int64)[:, None] * heads * ours_width + (head * ours_width + within)[None, :]
    tl.store(at, sums, mask=(i < length)[:, None] & (within < ours_width)[None, :])


def relations(
    ours_BTD: Tensor, theirs_BTE: Tensor, mask_BT: Tensor | None, heads: int, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """(sum over valid rows and heads of the divergence, its gradient BTD but for the factor 1 / sqrt(d_S)), float32."""
    ours_BTD, theirs_BTE = (x if x.stride(-1) == 1 else x.contiguous() for x in (ours_BTD, theirs_BTE))
    (batch, length, width), theirs_width = ours_BTD.shape, theirs_BTE.shape[-1] // heads
    ours_width, units, blocks = width // heads, batch * heads, triton.cdiv(length, BLOCK)
    counts_BT = ours_BTD.new_ones(batch, length, dtype=torch.uint8) if mask_BT is None else mask_BT.bool().byte()
    lse_2UT = torch.empty(2, units, length, dtype=torch.float32, device=ours_BTD.device)
    divergences = lse_2UT.new_empty(units * blocks)
    half = ours_BTD.dtype != torch.float32 and theirs_BTE.dtype != torch.float32
    sizes = (length, heads, ours_width, theirs_width, ours_width**-0.5, theirs_width**-0.5)
    inputs = (ours_BTD, theirs_BTE, counts_BT.contiguous(), *lse_2UT)
    options = {
        "OURS": max(NARROWEST, triton.next_power_of_2(ours_width)),
        "THEIRS": max(NARROWEST, triton.next_power_of_2(theirs_width)),
        "ROWS": BLOCK,
        "PRECISION": "tf32" if half else "tf32x3",  # products of halves are exact in float32; the others nearly so
        "num_warps": WARPS,
    }
    strides = (*ours_BTD.stride()[:2], *theirs_BTE.stride()[:2])
    with torch.cuda.device_of(ours_BTD):
        row_kernel[(units * blocks,)](*inputs, divergences, *sizes, *strides, **options)
        gradient_BTD = lse_2UT.new_empty(ours_BTD.shape) if with_gradient else None
        if gradient_BTD is not None:
            gradient_kernel[(units * blocks,)](*inputs, gradient_BTD, *sizes, *strides, **options)
    return divergences.sum(), gradient_BTD
