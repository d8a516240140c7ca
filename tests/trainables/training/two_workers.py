"""One worker of test_loop's comparison: `two_workers.py FOLDER RANK WORLD_SIZE`, joined through a file."""

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.text.corpus import open_corpus
from trainables.training.loop import distil
from trainables.training.reports import TrialReport
from trainables.training.settings import TrainingRun, TrainingSpec, Worker


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
        student = build_student(config, teacher, 0, corpus)
        run = TrainingRun(config, jobs["tokens"], 0, training)
        out = distil(student, teacher, corpus, run, rows.append, worker=Worker(rank, world_size))
        curves[name] = [[row.loss, row.gradient_norm] for row in rows] + [[out.held_out_loss, 0.0]]
    if rank == 0:
        (folder / "curves.json").write_text(json.dumps(curves))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
