"""One live teacher for several students on the same blocks, over a teacher for each, and over targets from the cache.

    python tests/bench/shared_teacher.py                     # four minutes
    python tests/bench/shared_teacher.py --teacher 6x192

What a lane mode would give that runs the teacher once for the trials of a node: processor milliseconds of a step of all
students, in one process and one thread, by hidden states of the last layer. `written by 16` adds to a step from the
cache a sixteenth of the teacher's forward pass: that of a study of 16 trials, which writes each block once.
"""

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from distil_setup import CLIP, RATE, Setup, make_setup, written_targets
from timing import interleaved, milliseconds, print_table, setting
from torch import nn

from spaces.students.transfer import Pairing
from trainables.machine import use_bf16
from trainables.models.signals import States, read_states
from trainables.training.distillation import Distillation, teacher_states
from trainables.training.loop import build_optimizer
from trainables.training.readings import Reading, read_batch
from trainables.training.targets import Targets

METHOD, TRIALS = "hs", 16
Student = tuple[Distillation, torch.optim.Optimizer]
Source = Callable[[Reading, np.ndarray, int], States | None]
"""(batch, its blocks, which student) -> the teacher's states; None: the student's own step runs the teacher."""


def training(setup: Setup, students: Sequence[Student], source: Source) -> Callable[[], float]:
    """A function that trains students for a few steps and returns the processor seconds of a step of all."""

    def seconds() -> float:
        started_s = time.process_time()
        for step in range(setup.steps):
            blocks = np.arange(step * setup.batch, (step + 1) * setup.batch) % len(setup.corpus.train)
            reading = read_batch(setup.corpus, "train", blocks, None, setup.training.mask_fraction)
            for number, (module, optimizer) in enumerate(students):
                states = source(reading, blocks, number)
                module(setup.teacher.model, replace(reading, states=states)).backward()
                nn.utils.clip_grad_norm_(module.parameters(), CLIP)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        return (time.process_time() - started_s) / setup.steps

    return seconds


def new_student(setup: Setup) -> Student:
    """A student under its loss, and its optimizer."""
    config = setup.config(METHOD)
    module = Distillation(setup.model(METHOD), setup.teacher, setup.corpus, config, setup.training)
    return module, build_optimizer(module, RATE, setup.training)


def sources(setup: Setup, targets: Targets) -> dict[str, Source]:
    """By name."""
    pairing = Pairing(setup.config(METHOD), setup.student, setup.teacher.facts.architecture)
    wanted = teacher_states(pairing)
    told: dict[str, States] = {}
    model, width = setup.teacher.model, pairing.teacher.hidden_size
    bf16 = use_bf16(setup.training.teacher_precision, model.device, width)

    def shared(reading: Reading, blocks: np.ndarray, number: int) -> States:
        if number == 0:
            with torch.no_grad(), torch.autocast(setup.device, torch.bfloat16, enabled=bf16):
                told["states"] = read_states(model, wanted, reading.inputs_BT)
        return told["states"]

    return {
        "live": lambda reading, blocks, number: None,
        "shared": shared,
        "cached": lambda reading, blocks, number: targets.read("train", wanted, blocks, None, reading),
    }


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="12x768")
    parser.add_argument("--student", default="3x192")
    parser.add_argument("--students", nargs="+", type=int, default=[1, 2, 4], help="at a time")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2, help="steps of each in a round")
    parser.add_argument("--rounds", type=int, default=2, help="counted rounds, after one that is not")
    options = parser.parse_args()
    options.device, options.teacher_precision = "cpu", "auto"
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["STILLHOUSE_CACHE"] = options.scratch = scratch
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Measure all contenders."""
    setup = make_setup(options)
    every = sources(setup, written_targets(setup, setup.config(METHOD), "float16"))
    students = [new_student(setup) for _ in range(max(options.students))]
    loops = {
        (count, name): training(setup, students[:count], source)
        for count in options.students
        for name, source in every.items()
    }
    seconds, rows = interleaved(loops, options.rounds), []
    first = options.students[0]
    teacher_s = (seconds[first, "live"] - seconds[first, "cached"]) / first
    for count in options.students:
        live_s, shared_s, cached_s = (seconds[count, name] for name in every)
        written_s = cached_s + count * teacher_s / TRIALS
        rows.append([
            count, *map(milliseconds, (live_s, shared_s, cached_s, written_s)), f"{live_s / shared_s:.2f}",
            f"{shared_s / written_s:.2f}",
        ])  # fmt: skip
    print(
        f"{options.teacher} teaches students of {options.student}, steps of {options.batch} x {options.length} tokens,"
    )
    print(f"medians of {options.rounds} interleaved rounds; {setting('transformers')}")
    columns = ["students", "live ms", "shared ms", "cached ms", f"written by {TRIALS} ms"]
    print_table([*columns, "live / shared", "shared / written"], rows)


if __name__ == "__main__":
    main()
