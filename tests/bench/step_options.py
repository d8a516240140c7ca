"""Do bf16 and torch.compile pay on this machine? Training steps of several students in fp32, in bf16, and compiled.

The compiled step's warm-up (the first step, which compiles forward and backward) is counted: the last column says how
many steps a trial must have before compiling it has paid for itself. A search compiles anew for every shape.

    python tests/bench/step_options.py                           # about four minutes on one core; needs a C++ compiler
    python tests/bench/step_options.py --device cuda --batch 256
"""

import argparse
import time

import torch
from mfu import training_step
from timing import interleaved, milliseconds, print_table, setting, timed

from spaces.students.architecture import parse_shape


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["2x96", "3x192", "6x256", "6x384", "6x768"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[list[object]] = []
    for name in options.shapes:
        shape = parse_shape(name)
        steps = {
            kind: training_step(
                shape, options.batch, options.length, kind == "bf16", options.device, compiled=kind == "compiled"
            )
            for kind in ("fp32", "bf16", "compiled")
        }
        started = time.perf_counter()
        timed(steps["compiled"], options.device)()
        warm_up_s = time.perf_counter() - started
        seconds = interleaved({kind: timed(step, options.device) for kind, step in steps.items()}, options.rounds)
        saved_s = seconds["fp32"] - seconds["compiled"]
        rows.append([
            name, *(milliseconds(seconds[kind]) for kind in steps), f"{seconds['fp32'] / seconds['bf16']:.2f}",
            f"{seconds['fp32'] / seconds['compiled']:.2f}", f"{warm_up_s:.0f}",
            f"{warm_up_s / saved_s:,.0f}" if saved_s > 0 else "never",
        ])  # fmt: skip
        print(f"{name} done", flush=True)
    print(f"Steps of {options.batch} x {options.length} tokens, medians of {options.rounds} interleaved rounds;")
    print(setting("transformers"))
    print_table(
        ["student", "fp32 ms", "bf16 ms", "compiled ms", "fp32 / bf16", "fp32 / compiled", "warm-up s", "steps to pay"],
        rows,
    )


if __name__ == "__main__":
    main()
