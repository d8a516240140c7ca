"""Time and memory of the error of mapped states (`hs`, `mha_direct`), forward and backward, against the plain formula.

The plain formula maps, subtracts, squares and leaves the gradients to autograd; `products` are the three matrix
products alone. Processor time of one thread; memory is the peak of what a run allocates beyond its inputs.

    python tests/bench/mapped_error.py                          # half a minute
"""

import argparse
import time
from collections.abc import Callable

import torch
from relation_loss import peak_mib
from timing import interleaved, milliseconds, print_table, setting
from torch import Tensor

from trainables.losses.regression import mapped_mse

SHAPES = [(192, 192, 8), (192, 768, 8), (192, 768, 32), (384, 1024, 8)]
LENGTH = 128


def busy(run: Callable[[], object]) -> Callable[[], float]:
    """A function that runs `run` and returns its processor seconds."""

    def seconds() -> float:
        started_s = time.process_time()
        run()
        return time.process_time() - started_s

    return seconds


def compare(width: int, teacher_width: int, batch: int, rounds: int) -> list[object]:
    """One row of the table."""
    torch.manual_seed(0)
    student_BTD = torch.randn(batch, LENGTH, width, requires_grad=True)
    map_DE = (torch.randn(width, teacher_width) / width**0.5).requires_grad_()
    teacher_BTE = torch.randn(batch, LENGTH, teacher_width)
    inputs = (student_BTD, map_DE)

    def plain() -> tuple[Tensor, ...]:
        return torch.autograd.grad((student_BTD @ map_DE - teacher_BTE).square().mean(-1).mean(), inputs)

    def fused() -> tuple[Tensor, ...]:
        return torch.autograd.grad(mapped_mse(*inputs, teacher_BTE, None), inputs)

    @torch.no_grad()
    def products() -> tuple[Tensor, ...]:
        student_ND = student_BTD.flatten(0, 1)
        mapped_NE = student_ND @ map_DE
        return mapped_NE @ map_DE.T, student_ND.T @ mapped_NE

    for ours, theirs in zip(fused(), plain(), strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
    seconds = interleaved({run.__name__: busy(run) for run in (plain, fused, products)}, rounds)
    memory = {run: peak_mib(run, [*inputs, teacher_BTE], "cpu") for run in (plain, fused)}
    return [
        width, teacher_width, batch, *map(milliseconds, seconds.values()),
        f"{seconds['fused'] / seconds['plain']:.2f}", f"{memory[plain]:.1f}", f"{memory[fused]:.1f}",
    ]  # fmt: skip


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="counted runs of each, interleaved")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [compare(*shape, options.rounds) for shape in SHAPES]
    print(f"Batches of texts of {LENGTH} tokens, float32, medians of {options.rounds} interleaved rounds; {setting()}")
    print_table(
        ["d_S", "d_T", "batch", "plain ms", "fused ms", "products ms", "fused / plain", "plain MiB", "fused MiB"], rows
    )


if __name__ == "__main__":
    main()
