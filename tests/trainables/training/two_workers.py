"""One worker of test_loop's comparison: `two_workers.py FOLDER RANK WORLD_SIZE`, joined through a file.

Under "mha" rank 1 alone is told to leave after two steps; both leave, and go on from their checkpoint.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import torch
import torch.distributed as dist

from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.text.corpus import open_corpus
from trainables.training.checkpoint import CheckpointFile
from trainables.training.loop import Leaving, distil
from trainables.training.reports import TrialReport
from trainables.training.settings import TrainingRun, TrainingSpec, Worker


def tells(rank: int, looks: Iterator[int], told_after: int | None) -> bool:
    """Whether a worker is told to leave now."""
    return next(looks) == told_after and rank == 1


def main(folder: Path, rank: int, world_size: int) -> None:
    """Train under every configuration of jobs.json; rank 0 writes the curves."""
    torch.set_num_threads(1)
    meeting, patience = f"file://{folder}/meet", timedelta(minutes=5)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size, timeout=patience)
    jobs = json.loads((folder / "jobs.json").read_text())
    teacher, corpus = load_teacher(jobs["teacher"]), open_corpus(Path(jobs["corpus"]))
    curves = {}
    for name, config in jobs["configs"].items():
        rows: list[TrialReport] = []
        training = replace(TrainingSpec(**jobs["training"]), gradient_accumulation=2 if name == "hs" else 1)
        run, place = TrainingRun(config, jobs["tokens"], 0, training), CheckpointFile(folder / f"{name}.safetensors")
        for told_after in (2, None) if name == "mha" else (None,):
            looks, student = count(), build_student(config, teacher, 0, corpus)
            own = {"worker": Worker(rank, world_size), "is_told": partial(tells, rank, looks, told_after)}
            with suppress(Leaving):
                out = distil(student, teacher, corpus, run, rows.append, checkpoint=place, **own)
                assert told_after is None
        curves[name] = [[row.loss, row.gradient_norm] for row in rows] + [[out.held_out_loss, 0.0]]
    if rank == 0:
        (folder / "curves.json").write_text(json.dumps(curves))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
