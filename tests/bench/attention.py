"""Attention on a CPU in float32 and bfloat16: torch's fused function against plain products and a softmax.

Milliseconds of one call, forward and with its gradients, one thread; the least of all rounds.

    python tests/bench/attention.py
"""

import argparse
import time

import torch
import torch.nn.functional as F
from timing import print_table, setting
from torch import Tensor

SHAPES = ((16, 6, 64, 16), (16, 12, 64, 16), (8, 12, 128, 32), (8, 12, 128, 64), (4, 12, 256, 64), (2, 12, 512, 64))
"""Batch, heads, tokens, size of a head."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The formula, each product on its own."""
    return ((query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5).softmax(-1) @ value


def least_ms(call, rounds: int) -> float:
    """Of so many calls, after one that is not counted."""
    call()
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return 1e3 * min(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for shape in SHAPES:
        for name, dtype in PRECISIONS.items():
            inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]
            slope = torch.randn(shape, dtype=dtype)
            times = {}
            for way, attention in (("fused", F.scaled_dot_product_attention), ("plain", plain)):
                with torch.inference_mode():
                    times[way, "forward"] = least_ms(lambda: attention(*inputs), options.rounds)  # noqa: B023
                times[way, "both"] = least_ms(
                    lambda: torch.autograd.grad(attention(*inputs), inputs, slope),  # noqa: B023
                    options.rounds,
                )
            ratios = [times["fused", which] / times["plain", which] for which in ("forward", "both")]
            values = [f"{times[way, which]:.2f}" for which in ("forward", "both") for way in ("fused", "plain")]
            rows.append([" x ".join(map(str, shape)), name, *values, *(f"{ratio:.1f}" for ratio in ratios)])
    print(setting())
    columns = ["B x H x T x head", "precision", "fused forward ms", "plain", "fused with gradients ms", "plain"]
    print_table([*columns, "fused / plain forward", "with gradients"], rows)


if __name__ == "__main__":
    main()
