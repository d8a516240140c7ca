"""What only ModernBERT has: layers of two types, windows, biases that may be there, norms before the sublayers."""

import dataclasses

import pytest
import torch
from small_trials import METHODS, run
from tiny_families import TINY
from transformers import AutoModelForMaskedLM, ModernBertForSequenceClassification

from spaces.errors import SpecError
from spaces.space.reading import read_space
from spaces.students.architecture import Attention, StudentArchitecture, count_parameters, flops_per_token
from spaces.students.transfer import Pairing
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.losses.hs import hidden_state_loss
from trainables.losses.loss import Batch
from trainables.losses.mha import MHA, default_teacher_layers, relation_loss
from trainables.models.calibration import fit_norms
from trainables.models.encoder import build_model, family_of, layers, lm_head
from trainables.models.loading import has_lm_head
from trainables.models.projection import stream_directions
from trainables.models.signals import QKV
from trainables.models.stream_sample import sampled_states
from trainables.models.student import build_student, truncated
from trainables.text.corpus import open_corpus
from trainables.training.distillation import Distillation
from trainables.training.settings import TrainingSpec

FULL, LOCAL = "full_attention", "sliding_attention"
DEEP = (8, 32, 4, 64)


@pytest.fixture
def teacher(teachers):
    return teachers("modernbert", shape=DEEP)


@pytest.fixture
def corpus(teacher, own_corpus):
    return open_corpus(own_corpus(teacher))


def config_of(shape, initialisation, method="hs"):
    return {"method": method, "initialisation": initialisation, **dataclasses.asdict(shape)}


@pytest.mark.parametrize("initialisation", ["random", "projected", "projected_layers", "first_layers"])
def test_students_have_the_types_of_the_first_layers_of_their_teacher(teacher, initialisation, corpus, tmp_path):
    assert teacher.model.config.layer_types == [FULL, LOCAL, LOCAL] * 2 + [FULL, LOCAL]
    for number, types in ((1, [FULL]), (3, [FULL, LOCAL, LOCAL]), (5, [FULL, LOCAL, LOCAL, FULL, LOCAL])):
        student = build_student(
            config_of(StudentArchitecture(number, 24, 2, 40), initialisation, "od"), teacher, 0, corpus
        )
        assert [layer.attention_type for layer in layers(student)] == student.config.layer_types == types
        export_student(student, teacher.tokenizer, tmp_path / str(number), StudentFacts())
        assert AutoModelForMaskedLM.from_pretrained(tmp_path / str(number)).config.layer_types == types


def test_evenly_spaced_layers_keep_their_types_and_the_first_stays_the_first(teacher, corpus):
    cut = truncated(teacher, StudentArchitecture(4, *DEEP[1:]), "uniform", corpus)
    for layer, source in zip(layers(cut), (1, 3, 6, 7), strict=True):
        theirs = layers(teacher.model)[source - 1]
        assert layer.attention_type == theirs.attention_type
        assert layer.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in layer.state_dict().items())


def test_a_window_is_as_wide_as_is_counted(teacher):
    config = teacher.model.config
    model = build_model(config, lm_head=False).eval()
    model.set_attn_implementation("eager")
    ids_BT = torch.arange(5, 25)[None]
    seen = [int((each[0, 0, 10] > 0).sum()) for each in model(ids_BT, output_attentions=True).attentions]
    window = family_of(config).facts(config).window
    assert seen == [20 if layer_type == FULL else window for layer_type in config.layer_types] and window == 5
    shape = teacher.facts.architecture
    short, long = (flops_per_token(shape, teacher.facts, length) for length in (5, 20))
    assert long - short == 4 * 15 * shape.hidden_size * config.layer_types.count(FULL)


@pytest.mark.parametrize("biases", [True, False])
def test_biases_are_counted_where_they_are(teacher, biases):
    names = ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias", "decoder_bias")
    config = TINY["modernbert"].config(100, DEEP)
    for name in names:
        setattr(config, name, biases)
    facts = dataclasses.replace(teacher.facts, family=family_of(config).facts(config), vocab_size=100)
    bare, masked_lm = (build_model(config, lm_head=each) for each in (False, True))
    assert count_parameters(facts.architecture, facts) == bare.num_parameters()
    assert count_parameters(facts.architecture, facts, lm_head=True) == masked_lm.num_parameters()
    assert lm_head(masked_lm, torch.randn(2, 32)).bias_V.shape == (100,)


def test_a_classifier_has_no_language_modelling_head(teacher, tmp_path):
    ModernBertForSequenceClassification(teacher.model.config).save_pretrained(tmp_path)
    assert not has_lm_head(tmp_path, teacher.model.config)


def test_calibration_brings_normalised_states_closer(teacher, corpus):
    """Embeddings and the last layer: nothing can be fitted where no norm ends a layer."""
    student = build_student(config_of(StudentArchitecture(8, 24, 4, 64), "projected_layers"), teacher, 3, corpus)
    basis = stream_directions(teacher, corpus, tuple(range(9)))[:, :24]
    wanted = [state @ basis for state in sampled_states(teacher.model, corpus)]

    def errors():
        ours = sampled_states(student, corpus)
        return [float((ours[layer] - wanted[layer]).square().mean().detach()) for layer in (0, 8)]

    calibrated = errors()
    with torch.no_grad():
        for norm in (student.embeddings.norm, student.final_norm):
            norm.weight.mul_(1.3)
    spoilt = errors()
    assert all(ours < theirs for ours, theirs in zip(calibrated, spoilt, strict=True))
    with torch.no_grad():
        fit_norms(student, teacher, corpus, basis, pairs=((0, 0), (8, 8)))
    assert errors() == pytest.approx(calibrated, rel=1e-4)


@pytest.mark.parametrize("method", ["od", "hs", "mha", "mha_direct", "sum"])
def test_every_method_trains_a_student_that_loads_as_it_was(teacher, method, corpus, tmp_path):
    config = METHODS[method] | {"num_layers": 2, "initialisation": "projected_layers"}
    student, _, outcome = run(config, teacher, corpus, steps=15)
    assert outcome.loss_last < outcome.loss_first
    export_student(student, teacher.tokenizer, tmp_path / "student", StudentFacts())


def test_relations_are_learned_from_layers_that_see_everything_and_within_the_window_of_others(teacher):
    facts = teacher.facts
    attention = facts.family.attention_facts(facts.architecture)
    assert default_teacher_layers(facts) == (7, 4, 1) and attention.windows.keys() == {2, 3, 5, 6, 8}
    ours, theirs = ([torch.randn(2, 12, 32) for _ in range(3)] for _ in range(2))
    for depth, layer, windows, window in (
        (1, 7, {}, None), (1, 8, {}, 5), (2, 7, {2: 5}, 5), (2, 8, {2: 3}, 3), (2, 8, {2: 7}, 5), (2, 7, {1: 5}, None),
    ):  # fmt: skip
        pairing = Pairing(
            {"relation_heads": 4, "teacher_layer": layer}, StudentArchitecture(depth, 32, 4, 64), facts.architecture,
            attention=attention, student_attention=Attention(windows=windows),
        )  # fmt: skip
        found = MHA.loss(pairing).value({(QKV, depth): ours}, {(QKV, layer): theirs}, {}, Batch())
        assert found == relation_loss(ours, theirs, None, 4, window)


@pytest.mark.parametrize(("depth", "window"), [(1, None), (2, 5)])
def test_a_trial_knows_the_window_of_its_students_last_layer(teacher, corpus, depth, window):
    config = METHODS["mha"] | {"num_layers": depth, "teacher_layer": 7, "initialisation": "projected_layers"}
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, TrainingSpec())
    ours, theirs = (tuple(torch.randn(1, 12, width) for _ in range(3)) for width in (24, 32))
    ((loss, _),) = module.terms
    found = loss.value({(QKV, depth): ours}, {(QKV, 7): theirs}, {}, Batch())
    assert found == relation_loss(ours, theirs, None, 8, window)


def test_hidden_states_count_in_units_of_their_layer(teacher, corpus):
    """The stream of a teacher whose norms stand before the sublayers grows; its errors must not be the top layer's."""
    config = METHODS["hs"] | {"num_layers": 8, "mapping": "uniform", "initialisation": "projected_layers"}
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, TrainingSpec())
    states = sampled_states(teacher.model, corpus)
    assert module.squares == {number: pytest.approx(float(each.square().mean())) for number, each in enumerate(states)}
    (x, y), same = torch.randn(2, 2, 5, 8), torch.eye(8)
    plain = hidden_state_loss([(x, same, y)], None)
    both = [(x, same, y), (10 * x, same, 10 * y)]
    torch.testing.assert_close(hidden_state_loss(both, None, [2.0, 200.0]), plain / 2)


@pytest.mark.parametrize(
    ("shape", "legal"), [("2x24/48h8", "nearest legal: 6 heads"), ("2x15/30h3", "width must be divisible by 2")]
)
def test_heads_of_odd_size_are_refused_before_anything_is_spent(teacher, shape, legal):
    with pytest.raises(SpecError, match=f"attention heads of modernbert must be of even size, got .*{legal}"):
        read_space({"method": "hs", "shape": [shape]}, teacher.facts, 16)
    read_space({"method": "hs", "shape": ["2x24/48h6"]}, teacher.facts, 16)
