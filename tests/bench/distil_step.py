"""A whole training step against what one would pick instead: same models, batch, threads, loss.

    python tests/bench/distil_step.py                            # five minutes of one core
    pip install textbrewer torchdistill torchvision accelerate sentence-transformers datasets    # the others

hs     hidden states, last layer to last layer through a learned map: textbrewer's GeneralDistiller.train,
       torchdistill's DistillationBox
mha    relations of one layer: both models run whole, the plain formula, as MiniLMv2's published recipe describes it
od     words at the masked positions: transformers' Trainer with a distillation loss over logits, as is usual
embed  embeddings of texts, through a learned map: sentence-transformers' MSELoss under its trainer

What is missing is skipped, and said. The models are BERTs with random weights, which take the same time as trained
ones, without dropout; everyone gets AdamW and gradient clipping. Everyone runs as it comes: the others in float32,
stillhouse with the precision that a spec defaults to (bf16 for the teacher where the hardware multiplies it;
--teacher-precision fp32 takes that away). With one thread on a CPU the seconds are those of the processor, so that
other work on the machine counts little. torchdistill needs a torchvision built for the installed torch.
"""

import argparse
import logging
import os
import tempfile
from functools import partial

import torch
from distil_peers import PEERS
from distil_setup import make_setup, ours, seconds_per_step
from timing import interleaved, milliseconds, print_table, setting

CACHED = "stillhouse, cached"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="12x768")
    parser.add_argument("--student", default="3x192")
    parser.add_argument("--methods", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2, help="counted steps of each in a round")
    parser.add_argument("--rounds", type=int, default=2, help="counted rounds, after one that is not")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--teacher-precision", choices=["auto", "fp32", "bf16"], default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["STILLHOUSE_CACHE"] = options.scratch = scratch
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Measure all contenders."""
    setup, rows = make_setup(options), []
    for method in options.methods:
        config, loops = setup.config(method), {}
        own = {CACHED: partial(ours, config=config, dtype="float16"), "stillhouse, live": partial(ours, config=config)}
        for name, build in {**own, **PEERS[method]}.items():
            try:
                loops[name] = seconds_per_step(build(setup), setup)
            except (ImportError, RuntimeError) as error:
                rows.append([method, name, f"skipped: {error}", "", ""])
        seconds = interleaved(loops, options.rounds)
        for name, step_s in seconds.items():
            rate = f"{options.batch * options.length / step_s:,.0f}"
            rows.append([method, name, milliseconds(step_s), rate, f"{step_s / seconds[CACHED]:.2f}"])
    print(
        f"{options.teacher} teaches {options.student}, steps of {options.batch} x {options.length} tokens, medians of"
    )
    print(f"{options.rounds} interleaved rounds; {setting('transformers', 'sentence-transformers')}")
    print_table(["method", "loop", "ms per step", "tokens/s", "time over cached"], rows)


if __name__ == "__main__":
    main()
