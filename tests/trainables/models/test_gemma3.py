"""What only Gemma 3 has: no masked-LM head, norms about 1, windows whose config is converted when it is read."""

import copy

import pytest
import torch
from small_trials import METHODS, run

from spaces.errors import SpecError
from spaces.space.reading import read_space
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.models.encoder import build_model, family_of
from trainables.models.family import ShiftedNorm
from trainables.models.projection import project_norm
from trainables.models.teacher import load_teacher
from trainables.text.corpus import open_corpus
from trainables.training.pretrain import PretrainSpec, pretrain

LOCAL = "sliding_attention"


@pytest.fixture
def teacher(teachers):
    return teachers("gemma3_text")


@pytest.fixture
def corpus(teacher, own_corpus):
    return open_corpus(own_corpus(teacher))


@pytest.mark.parametrize("method", ["od", "mlm", "hs + od"])
def test_what_needs_a_head_is_refused_by_name(teacher, method, write_teacher, tmp_path):
    own = "mlm" if method == "mlm" else "od"
    with pytest.raises(SpecError, match=f"'{own}' needs a masked-LM head, which no model of type gemma3_text"):
        read_space({"method": method, "shape": ["2x16"]}, teacher.facts, 16)
    source = write_teacher("gemma3_text")
    with pytest.raises(SpecError, match="no model of type gemma3_text has a masked-LM head to train on"):
        pretrain(PretrainSpec(str(source)), tmp_path / "work", tmp_path / "to", print)


def test_a_window_is_as_wide_as_is_counted_after_each_loading(teacher, write_teacher, tmp_path):
    """Configs hold the width on both sides, and models of the config in memory the width on one."""
    student = build_model(teacher.model.config, lm_head=False)
    student.save_pretrained(tmp_path)
    for model in (teacher.model, load_teacher(str(write_teacher("gemma3_text"))).model, student):
        config, ids_BT = copy.deepcopy(model.config), torch.arange(5, 25)[None]
        model = build_model(config, lm_head=False).eval()
        model.set_attn_implementation("eager")
        seen = [int((each[0, 0, 10] > 0).sum()) for each in model(ids_BT, output_attentions=True).attentions]
        window = family_of(config).facts(config).window
        assert seen == [window if kind == LOCAL else 20 for kind in config.layer_types] and window == 5
    assert type(teacher.model.config).from_pretrained(tmp_path).sliding_window == teacher.model.config.sliding_window


def test_a_norm_about_1_is_projected_as_the_gain_that_it_is():
    basis = torch.linalg.qr(torch.randn(8, 4, generator=torch.Generator().manual_seed(0))).Q
    plain, shifted = (torch.nn.RMSNorm(8) for _ in range(2))
    ours, theirs = (torch.nn.RMSNorm(4) for _ in range(2))
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(0.5, 2, 8))
        shifted.weight.copy_(plain.weight - 1)
        project_norm(ours, plain, basis)
        project_norm(ShiftedNorm(theirs), ShiftedNorm(shifted), basis)
    torch.testing.assert_close(theirs.weight + 1, ours.weight)


def test_a_student_learns_and_loads_as_it_was(teacher, corpus, tmp_path):
    """export_student compares what it wrote with the student in memory."""
    config = METHODS["hs"] | {"num_layers": 2, "initialisation": "projected_layers"}
    student, _, outcome = run(config, teacher, corpus, steps=20)
    assert outcome.loss_last < outcome.loss_first and not student.config.use_cache
    export_student(student, teacher.tokenizer, tmp_path / "student", StudentFacts())
