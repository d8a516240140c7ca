"""A method of another package, with an axis and a signal of its own: it is searched, trained, cached and recorded."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
METHOD = '''
"""`pooled`: the mean over the tokens of a layer, through a learned map."""

import torch
from pooled import POOLED

from spaces.students.axis import Axis, Rule, whole
from spaces.students.transfer import TransferMethod
from trainables.losses.loss import Loss, Projection


def loss(pairing):
    ours, theirs = (POOLED, pairing.student.num_layers), (POOLED, pairing.config["pooled_layer"])

    def value(student, teacher, maps, batch):
        return (student[ours] @ maps["pooled"] - teacher[theirs]).square().mean()

    widths = (pairing.student.hidden_size, pairing.teacher.hidden_size)
    return Loss((ours,), (theirs,), value, {"pooled": Projection(*widths, of_states=True)})


def layers(teacher):
    return (teacher.architecture.num_layers, teacher.architecture.num_layers + 1)


def beyond(layer, student, teacher):
    return None if layer <= teacher.architecture.num_layers else f"pooled_layer {layer} is beyond the teacher"


LAYER = Axis(
    "pooled_layer", int, whole, "teacher layer whose mean is learned", "layer", default=layers,
    rules=(Rule("pooled_layer lies within the teacher", beyond),),
)
METHOD = TransferMethod("pooled", "means over tokens", "none", loss, signals=("pooled",), axes=(LAYER,))
'''
TRIAL = """
import json, sys
from dataclasses import asdict
from pathlib import Path

from small_trials import EXACT, STEP, fill
from search.store.parts import Store
from spaces.records.columns import axis_columns
from spaces.space.reading import read_space
from trainables.models.signals import states_of
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.text.corpus import blocks_visited, open_corpus
from trainables.training.distillation import Distillation
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun
from trainables.training.targets import Needs, TargetPlan

path, folder = sys.argv[1:3]
teacher, corpus = load_teacher(path), open_corpus(Path(folder))
table = {"method": ["0.5 pooled + hs"], "shape": ["2x24/48h2"], "mapping": "last", "learning_rate": [3e-3],
         "initialisation": "projected", "batch_size": 8}
space = read_space(table, teacher.facts, 16)
(config,) = space.enumerate()
student = build_student(config, teacher, 0, corpus)
asked = Distillation(student, teacher, corpus, config, EXACT).teacher_signals
plan = TargetPlan(
    teacher=path, teacher_digest="", corpus=folder, needs=Needs(states_of(asked)),
    blocks=tuple(blocks_visited(corpus, 160, 0).tolist()), held_out=min(64, len(corpus.held_out)), views=1,
    mask_fraction=0.15, width=32, sequence_length=16, bf16=False, dtype="bfloat16",
)
told = {"config": config}
for name, targets in (("live", None), ("cache", fill(plan, teacher))):
    student, rows = build_student(config, teacher, 0, corpus), []
    trained = distil(student, teacher, corpus, TrainingRun(config, 20 * STEP, 0, EXACT), rows.append, targets=targets)
    told[name] = asdict(trained)
store = Store(sys.argv[3], axes=axis_columns(space.method_axes))
store.write_part("trials", 0, [{"trial": 0, **config}])
(told["row"],) = store.read_rows("trials")
print(json.dumps(told))
"""


def test_it_is_searched_and_trained_live_and_from_the_cache(tmp_path, write_teacher, corpus_folder):
    (tmp_path / "outside_method.py").write_text(METHOD)
    shutil.copy(HERE.parent / "pooled.py", tmp_path)
    info = tmp_path / "outside_method-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stillhouse.methods]\npooled = outside_method:METHOD\n")
    paths = [str(tmp_path), str(HERE.parent), str(HERE.parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", TRIAL, str(write_teacher("bert")), str(corpus_folder), str(tmp_path / "study")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["config"]["method"] == "hs + 0.5 pooled"
    assert told["config"]["pooled_layer"] == 4  # its default, less what its rule forbids
    assert told["row"]["pooled_layer"] == 4 and told["row"]["temperature"] is None
    live, cached = told["live"], told["cache"]
    assert (live["targets"], cached["targets"]) == ("live", "cache")
    assert live["loss_last"] < 0.9 * live["loss_first"]
    assert abs(cached["held_out_loss"] / live["held_out_loss"] - 1) < 0.02
