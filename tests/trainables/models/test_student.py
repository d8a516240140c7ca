"""How a student starts: exact copies at equal shape, the teacher in a projected basis below it."""

from dataclasses import replace

import pytest
import torch

from spaces.errors import TrialFailed
from spaces.students.architecture import StudentArchitecture, count_parameters
from trainables.models.encoder import hidden_states, layers, part, wiring, word_embeddings
from trainables.models.student import (
    build_student,
    calibrate,
    evenly,
    load_weights,
    principal_directions,
    sampled_states,
    stream_directions,
    strongest_units,
    truncated,
)

FAMILIES = ["bert", "roberta", "xlm-roberta", "distilbert"]
SAME = StudentArchitecture(4, 32, 4, 64)
IDS_BT = torch.tensor([[2, 7, 9, 30, 31, 3]])


def config_of(shape=SAME, initialisation="projected_layers", method="od"):
    return {"method": method, "initialisation": initialisation, **vars(shape)}


@pytest.mark.parametrize("initialisation", ["projected_layers", "teacher_layers", "first_layers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_at_equal_shape_the_student_is_the_teacher(teachers, family, initialisation, corpus):
    teacher = teachers(family)
    student = build_student(config_of(initialisation=initialisation), teacher, 3, corpus)
    with torch.no_grad():
        ours, theirs = (m(input_ids=IDS_BT, output_hidden_states=True) for m in (student, teacher.model))
    assert torch.equal(ours.logits, theirs.logits)
    for student_BTD, teacher_BTD in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert torch.equal(student_BTD, teacher_BTD)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("initialisation", "kept"), [("teacher_layers", (1, 3)), ("first_layers", (0, 1))])
def test_the_layers_of_a_start_are_evenly_spaced_or_the_first(teachers, family, initialisation, kept, corpus):
    teacher = teachers(family)
    student = build_student(config_of(replace(SAME, num_layers=2), initialisation, "hs"), teacher, 3, corpus)
    for ours, theirs in zip(layers(student), (layers(teacher.model)[i] for i in kept), strict=True):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name


@pytest.mark.parametrize("initialisation", ["random", "projected", "projected_layers", "first_layers"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["mha", "od + hs", "mlm"])
def test_narrower_students_are_built_as_counted(teachers, family, method, initialisation, corpus):
    teacher, shape = teachers(family), StudentArchitecture(3, 24, 2, 40)
    student = build_student(config_of(shape, initialisation, method), teacher, 3, corpus)
    lm_head = method != "mha"
    counted = count_parameters(shape, teacher.facts, lm_head=lm_head)
    assert sum(p.numel() for p in student.parameters()) == counted
    assert (student.get_output_embeddings() is not None) == lm_head
    assert not student.training
    assert all(p.requires_grad for p in student.parameters())
    states = hidden_states(student, IDS_BT)
    assert len(states) == 4
    assert all(state.shape[-1] == 24 and state.isfinite().all() for state in states)
    if lm_head:
        assert student.get_output_embeddings().weight is word_embeddings(student)


@pytest.mark.parametrize("family", FAMILIES)
def test_projected_embeddings_are_the_teachers_in_the_basis(teachers, family, corpus):
    teacher = teachers(family)
    student = build_student(config_of(replace(SAME, hidden_size=24), "projected", "hs"), teacher, 3, corpus)
    basis = stream_directions(teacher, corpus)[:, :24]
    for name, value in teacher.model.base_model.embeddings.named_parameters():
        if "LayerNorm" not in name:
            mine = dict(student.base_model.embeddings.named_parameters())[name]
            torch.testing.assert_close(mine, value @ basis)


@pytest.mark.parametrize("family", FAMILIES)
def test_projected_layers_are_the_teachers_in_the_basis(teachers, family, corpus):
    teacher, names = teachers(family), wiring(teachers(family).model.config)
    shape = StudentArchitecture(2, 16, 2, 24)
    student = build_student(config_of(shape), teacher, 3, corpus)
    basis = stream_directions(teacher, corpus)[:, :16]
    source, target = layers(teacher.model)[3], layers(student)[1]
    rows = [*range(0, 8), *range(16, 24)]  # heads 0 and 2 of four, all eight dimensions of each
    for name in (names.query, names.key, names.value):
        torch.testing.assert_close(part(target, name).weight, part(source, name).weight[rows] @ basis)
        torch.testing.assert_close(part(target, name).bias, part(source, name).bias[rows])
    out = names.attention_output
    torch.testing.assert_close(part(target, out).weight, basis.T @ part(source, out).weight[:, rows])
    torch.testing.assert_close(part(target, out).bias, basis.T @ part(source, out).bias)
    units = strongest_units(part(source, names.ffn_in), part(source, names.ffn_out), part(target, names.ffn_in))
    assert len(units) == 24
    torch.testing.assert_close(part(target, names.ffn_in).weight, part(source, names.ffn_in).weight[units] @ basis)
    back = part(source, names.ffn_out).weight[:, units]
    torch.testing.assert_close(part(target, names.ffn_out).weight, basis.T @ back)
    torch.testing.assert_close(student.get_output_embeddings().bias, teacher.model.get_output_embeddings().bias)


def test_principal_directions_are_orthonormal_and_reconstruct_best():
    scales = torch.tensor([5, 4, 3, 2, 1, 0.5, 0.2, 0.1])
    rows_ND = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * scales
    directions = principal_directions(rows_ND.T @ rows_ND)
    torch.testing.assert_close(directions.T @ directions, torch.eye(8))
    basis = directions[:, :3]
    error = (rows_ND - rows_ND @ basis @ basis.T).square().sum().item()
    best = torch.linalg.svdvals(rows_ND)[3:].square().sum().item()
    assert error == pytest.approx(best, rel=1e-4)


def test_a_projected_start_without_a_corpus_is_refused(teacher):
    with pytest.raises(ValueError, match="corpus"):
        build_student(config_of(replace(SAME, hidden_size=24), "projected", "hs"), teacher, 3)


def test_calibration_brings_every_layer_closer_to_the_projected_teacher(teacher, corpus):
    student = build_student(config_of(replace(SAME, hidden_size=24)), teacher, 3, corpus)
    basis = stream_directions(teacher, corpus)[:, :24]
    wanted = [state @ basis for state in sampled_states(teacher.model, corpus)]

    def errors():
        return [float((a - b).square().mean()) for a, b in zip(sampled_states(student, corpus), wanted, strict=True)]

    calibrated = errors()
    with torch.no_grad():
        for name, value in student.base_model.named_parameters():
            if "LayerNorm" in name:
                value.fill_(1.0 if name.endswith("weight") else 0.0)
    plain = errors()
    assert all(ours < theirs for ours, theirs in zip(calibrated, plain, strict=True))
    with torch.no_grad():
        calibrate(student, teacher, corpus, basis, pairs=tuple((i, i) for i in range(len(wanted))))
    assert all(again < theirs for again, theirs in zip(errors(), plain, strict=True))


def test_a_seed_is_a_student(teacher):
    config = config_of(replace(SAME, hidden_size=24), "random", "mha")
    first, again, other = (build_student(config, teacher, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_leaves_the_teacher_alone(teacher, corpus):
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    student = build_student(config_of(), teacher, 3, corpus)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())
    assert teacher.model.config.num_hidden_layers == 4


def test_strongest_units_are_those_with_the_largest_weights():
    first, second, small, large = (torch.nn.Linear(*size) for size in ((3, 4), (4, 3), (3, 2), (3, 6)))
    with torch.no_grad():
        first.weight.copy_(torch.tensor([1.0, 4.0, 2.0, 3.0])[:, None].expand(4, 3))
        second.weight.fill_(1.0)
    assert strongest_units(first, second, small).tolist() == [1, 3]
    assert strongest_units(first, second, large).tolist() == [0, 1, 2, 3, 0, 1]


def test_evenly():
    assert evenly(8, 4).tolist() == [0, 2, 4, 6]
    assert evenly(3, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_truncated_teacher_is_its_first_layers(teachers, family, corpus):
    teacher = teachers(family)
    shape = replace(SAME, num_layers=2)
    cut = truncated(teacher, shape, "first", corpus)
    mask_BT = torch.ones_like(IDS_BT)
    with torch.no_grad():
        ours, theirs = (hidden_states(model, IDS_BT, mask_BT) for model in (cut, teacher.model))
    assert len(ours) == 3
    for student_BTD, teacher_BTD in zip(ours, theirs[:3], strict=True):
        assert torch.equal(student_BTD, teacher_BTD)
    spaced = layers(truncated(teacher, shape, "uniform", corpus))
    for name, value in spaced[0].state_dict().items():
        assert torch.equal(value, layers(teacher.model)[1].state_dict()[name]), name


def test_weights_of_a_student_are_taken_over(teachers, corpus, tmp_path):
    teacher = teachers("bert")
    first = build_student(config_of(initialisation="random", method="hs"), teacher, 0, corpus)
    first.save_pretrained(tmp_path / "own")
    second = build_student(config_of(initialisation="random", method="mlm"), teacher, 1, corpus)
    load_weights(second, str(tmp_path / "own"))
    for name, tensor in first.base_model.state_dict().items():
        assert torch.equal(second.base_model.state_dict()[name], tensor), name
    wider = build_student(config_of(replace(SAME, hidden_size=16), "random", "hs"), teacher, 0, corpus)
    with pytest.raises(TrialFailed, match="do not fit the student"):
        load_weights(wider, str(tmp_path / "own"))
