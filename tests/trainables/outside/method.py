"""A method of another package, with an axis and a signal of its own: it is searched, trained, cached and recorded."""

import pytest
from small_trials import EXACT, STEP, fill

from search.store.parts import Store
from spaces.records.columns import axis_columns
from spaces.space.reading import read_space
from trainables.models.signals import states_of
from trainables.models.student import build_student
from trainables.text.corpus import blocks_visited
from trainables.training.distillation import Distillation
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun
from trainables.training.targets import Needs, TargetPlan

SPACE = {
    "method": ["0.5 pooled + hs"], "shape": ["2x24/48h2"], "mapping": "last", "learning_rate": [3e-3],
    "initialisation": "projected", "batch_size": 8,
}  # fmt: skip


@pytest.fixture
def space(teacher):
    return read_space(SPACE, teacher.facts, 16)


def test_outside_method_is_searched_and_recorded(space, tmp_path):
    (config,) = space.enumerate()
    assert config["method"] == "hs + 0.5 pooled"
    assert config["pooled_layer"] == 4  # its default, less what its rule forbids
    store = Store(tmp_path, axes=axis_columns(space.own_axes))
    store.write_part("trials", 0, [{"trial": 0, **config}])
    (row,) = store.read_rows("trials")
    assert row["pooled_layer"] == 4 and row["temperature"] is None


def test_outside_method_is_trained_live_and_from_the_cache(space, teacher, write_teacher, corpus_folder, corpus):
    (config,) = space.enumerate()
    student = build_student(config, teacher, 0, corpus)
    asked = Distillation(student, teacher, corpus, config, EXACT).teacher_signals
    plan = TargetPlan(
        teacher=str(write_teacher("bert")), teacher_digest="", corpus=str(corpus_folder), needs=Needs(states_of(asked)),
        blocks=tuple(blocks_visited(corpus, 160, 0).tolist()), held_out=min(64, len(corpus.held_out)), views=1,
        mask_fraction=0.15, width=32, sequence_length=16, bf16=False, dtype="bfloat16",
    )  # fmt: skip
    live, cached = (
        distil(
            build_student(config, teacher, 0, corpus), teacher, corpus, TrainingRun(config, 20 * STEP, 0, EXACT),
            lambda row: None, targets=targets,
        )
        for targets in (None, fill(plan, teacher))
    )  # fmt: skip
    assert (live.targets, cached.targets) == ("live", "cache")
    assert live.loss_last < 0.9 * live.loss_first
    assert abs(cached.held_out_loss / live.held_out_loss - 1) < 0.02
