"""A step that reads the teacher from the target cache over the same step without any teacher: what a teacher costs.

    python tests/bench/cached_step.py                     # five minutes
    python tests/bench/cached_step.py --teacher 6x192

Without a teacher: forward, a trivial loss of the last hidden states, backward, clipping and AdamW, the same student,
batch and one thread. hs/last maps the last hidden state alone, hs/uniform one of each layer of the student. What counts
is the processor time of the process: reading ahead, which another thread does, is work too. `products alone` is the
bound that matrix products set, those of the student's step over those of the method's, if all ran at one speed. The
models are those of distil_setup.py.
"""

import argparse
import logging
import os
import tempfile

import torch
from distil_setup import CLIP, RATE, VOCABULARY, Loop, Setup, make_setup, ours, seconds_per_step
from timing import interleaved, milliseconds, print_table, setting
from torch import nn

from spaces.students.layer_mapping import resolve_mapping
from trainables.machine import use_bf16
from trainables.models.encoder import hidden_states
from trainables.text.masking import masked_per_block
from trainables.training.loop import build_optimizer

WITHOUT = "no teacher"
METHODS = {"hs/last": ("hs", "last"), "hs/uniform": ("hs", "uniform"), "mha": ("mha", None), "od": ("od", None)}
DTYPES = ("float16", "int8")


def without_teacher(setup: Setup) -> Loop:
    """A plain loop over the same batches, in the precision of a trial."""
    student, depth = setup.model("hs"), setup.student.num_layers
    bf16 = use_bf16(setup.training.precision, student.device, setup.student.hidden_size)
    optimizer = build_optimizer(student, RATE, setup.training)
    direction_D = torch.randn(setup.student.hidden_size)

    def loop() -> None:
        for step in range(setup.steps):
            with torch.autocast(setup.device, torch.bfloat16, enabled=bf16):
                last_BTD = hidden_states(student, setup.ids_BT(step), None, depth)[depth]
            (last_BTD * direction_D).mean().backward()
            nn.utils.clip_grad_norm_(student.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return loop


def from_cache(name: str, setup: Setup, dtype: str) -> Loop:
    """The training loop of a trial."""
    method, mapping = METHODS[name]
    return ours(setup, setup.config(method) | ({"mapping": mapping} if mapping else {}), dtype)


def products(name: str, setup: Setup) -> float:
    """Products of the student's step without a teacher over those of the method's, in FLOPs of a token."""
    ours, theirs, length = setup.student, setup.teacher.facts.architecture, setup.corpus.train.shape[1]
    width, wide = ours.hidden_size, theirs.hidden_size
    layer = 2 * (4 * width**2 + 2 * width * ours.intermediate_size) + 4 * length * width
    alone = 3 * ours.num_layers * layer
    method, mapping = METHODS[name]
    if method == "hs":
        pairs = len(resolve_mapping(str(mapping), ours.num_layers, theirs.num_layers))
        return alone / (alone + 3 * pairs * 2 * width * wide)
    if method == "mha":  # what is above the last queries, keys and values is not run
        unread = 3 * (layer - 6 * width**2)
        restored, relations = 6 * wide**2, 3 * 2 * length * (wide + 3 * width)
        return alone / (alone - unread + restored + relations)
    masked = masked_per_block(length, setup.training.mask_fraction) / length
    return alone / (alone + masked * 2 * VOCABULARY * (wide + 3 * width))


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="12x768")
    parser.add_argument("--student", default="3x192")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4, help="counted steps of each in a round")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds, after one that is not")
    parser.add_argument("--teacher-precision", choices=["auto", "fp32", "bf16"], default="auto")
    options = parser.parse_args()
    options.device = "cpu"
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["STILLHOUSE_CACHE"] = options.scratch = scratch
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Measure all contenders."""
    setup = make_setup(options)
    loops = {(WITHOUT, ""): without_teacher(setup)}
    loops |= {(name, dtype): from_cache(name, setup, dtype) for name in options.methods for dtype in DTYPES}
    seconds, rows = interleaved({key: seconds_per_step(loop, setup) for key, loop in loops.items()}, options.rounds), []
    alone_s = seconds[WITHOUT, ""]
    for (name, dtype), step_s in seconds.items():
        bound = "" if name == WITHOUT else f"{products(name, setup):.2f}"
        rate = f"{options.batch * options.length / step_s:,.0f}"
        rows.append([name, dtype, milliseconds(step_s), rate, f"{alone_s / step_s:.2f}", bound])
    print(
        f"{options.teacher} teaches {options.student}, steps of {options.batch} x {options.length} tokens, medians of"
    )
    print(f"{options.rounds} interleaved rounds; {setting('transformers')}")
    print_table(["step", "targets", "CPU ms", "tokens/s", "over no teacher", "products alone"], rows)


if __name__ == "__main__":
    main()
