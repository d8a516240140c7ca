"""One small trial of every method, and how to run it."""

import numpy as np

from trainables.models.student import build_student
from trainables.training.checkpoint import CheckpointFile
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun, TrainingSpec
from trainables.training.target_shards import build_shard, unfinished_shards, write_plan
from trainables.training.targets import Targets

EXACT = TrainingSpec(precision="fp32", teacher_precision="fp32", checkpoint_every_s=0.0)
SHAPE = {"num_layers": 2, "hidden_size": 24, "num_heads": 2, "intermediate_size": 48}
COMMON = {**SHAPE, "initialisation": "projected", "learning_rate": 3e-3, "batch_size": 8}
METHODS = {
    "od": {"method": "od", "temperature": 2.0},
    "hs": {"method": "hs", "mapping": "uniform"},
    "mha": {"method": "mha", "relation_heads": 8, "teacher_layer": 3},
    "mha_direct": {"method": "mha_direct", "teacher_layer": 4},
    "mlm": {"method": "mlm"},
    "sum": {"method": "od + 0.5 hs", "temperature": 1.0, "mapping": "1-1 2-4"},
}
METHODS = {name: COMMON | method for name, method in METHODS.items()}
STEP = 8 * 16
FEW = np.arange(4)


def run(config, teacher, corpus, steps=10, training=EXACT, report=None, checkpoint=None, seed=0):
    """(student, reports, outcome)."""
    rows = []
    student = build_student(config, teacher, seed, corpus)
    place = CheckpointFile(checkpoint) if checkpoint else None
    course = TrainingRun(config, steps * STEP, seed, training)
    outcome = distil(student, teacher, corpus, course, report or rows.append, checkpoint=place)
    return student, rows, outcome


def fill(plan, teacher):
    """Write the target cache of a plan and open it."""
    for part, number in unfinished_shards(plan):
        build_shard(plan, part, number, teacher)
    write_plan(plan)
    return Targets(plan.folder)
