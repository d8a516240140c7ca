"""Time and memory of the fused relation loss, forward and backward, against the plain formula of MiniLMv2.

The plain formula makes softmax and log-softmax of the relations of all heads and lets autograd differentiate; memory
is the peak of what a run allocates beyond its inputs, gradients included. One text length per row, the batch such
that the relations of one of Q, K, V have about 6 million entries, on a GPU 400 million. Shapes: B batch, T tokens, D
width, R heads.

    python tests/bench/relation_loss.py                          # about a minute on one core
    python tests/bench/relation_loss.py --device cuda --rounds 20
"""

import argparse
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from timing import interleaved, milliseconds, print_table, setting, timed
from torch import Tensor

from trainables.export.measuring import MIB, LiveBytes
from trainables.losses.mha import relation_loss

SHAPES = [(384, 192, 12), (384, 192, 48), (768, 384, 12), (768, 384, 48), (768, 384, 64), (1024, 384, 64)]
LENGTHS = (128, 512)
ENTRIES = {"cpu": 6_300_000, "cuda": 400_000_000}


def plain_relation_loss(student_qkv: Sequence[Tensor], teacher_qkv: Sequence[Tensor], heads: int) -> Tensor:
    """Sum over Q, K, V of the mean over heads and rows of KL(teacher || student), without padding."""

    def scores(x_BTD: Tensor) -> Tensor:
        x_BRTH = x_BTD.unflatten(-1, (heads, -1)).transpose(1, 2)
        return x_BRTH @ x_BRTH.mT * x_BRTH.shape[-1] ** -0.5

    losses = []
    for student_BTD, teacher_BTD in zip(student_qkv, teacher_qkv, strict=True):
        log_student_BRTT = F.log_softmax(scores(student_BTD), -1)
        teacher_BRTT = F.softmax(scores(teacher_BTD), -1)
        rows = student_BTD.shape[0] * heads * student_BTD.shape[1]
        losses.append(F.kl_div(log_student_BRTT, teacher_BRTT, reduction="sum") / rows)
    return torch.stack(losses).sum()


def peak_mib(run: Callable[[], object], inputs: Sequence[Tensor], device: str) -> float:
    """Peak of what a run allocates beyond its inputs."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    with LiveBytes({x.untyped_storage().data_ptr() for x in inputs}) as live:
        run()
    return live.peak / MIB


def compare(teacher_width: int, student_width: int, heads: int, length: int, rounds: int, device: str) -> list[object]:
    """One row of the table."""
    batch = max(1, ENTRIES[device] // (heads * length * length))
    torch.manual_seed(0)
    students = [torch.randn(batch, length, student_width, device=device, requires_grad=True) for _ in range(3)]
    teachers = [torch.randn(batch, length, teacher_width, device=device) for _ in range(3)]

    def plain() -> tuple[Tensor, ...]:
        return torch.autograd.grad(plain_relation_loss(students, teachers, heads), students)

    def fused() -> tuple[Tensor, ...]:
        return torch.autograd.grad(relation_loss(students, teachers, None, heads), students)

    for ours_BTD, theirs_BTD in zip(fused(), plain(), strict=True):
        assert (ours_BTD - theirs_BTD).abs().max() < 1e-4 * theirs_BTD.abs().max()
    seconds = interleaved({"plain": timed(plain, device), "fused": timed(fused, device)}, rounds)
    memory = {name: peak_mib(run, students + teachers, device) for name, run in (("plain", plain), ("fused", fused))}
    return [
        teacher_width, student_width, heads, length, batch,
        *map(milliseconds, seconds.values()), f"{seconds['fused'] / seconds['plain']:.2f}",
        f"{memory['plain']:.0f}", f"{memory['fused']:.1f}", f"1/{memory['plain'] / memory['fused']:.0f}",
    ]  # fmt: skip


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each, interleaved")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [compare(*shape, length, options.rounds, options.device) for shape in SHAPES for length in LENGTHS]
    print(f"Relation loss, forward and backward, float32, medians of {options.rounds} interleaved rounds; {setting()}")
    print_table(
        ["d_T", "d_S", "heads", "length", "batch", "plain ms", "fused ms", "time", "plain MiB", "fused MiB", "memory"],
        rows,
    )


if __name__ == "__main__":
    main()
