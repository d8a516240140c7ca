"""How a student starts: exact copies at equal shape, the teacher in a projected basis below it."""

from dataclasses import replace

import pytest
import torch

from spaces.errors import TrialFailed
from spaces.students.architecture import StudentArchitecture
from trainables.models.student import (
    TRUNCATIONS,
    build_student,
    calibrate,
    copied_layers,
    evenly,
    load_weights,
    principal_directions,
    sampled_states,
    stream_directions,
    strongest_units,
)

SAME = StudentArchitecture(4, 32, 4, 64)


def config_of(shape=SAME, initialisation="projected_layers", method="od"):
    return {"method": method, "initialisation": initialisation, **vars(shape)}


@pytest.mark.parametrize("kept", TRUNCATIONS)
def test_the_layers_of_a_start_are_evenly_spaced_or_the_first(kept):
    for theirs in (1, 4, 6, 12):
        for ours in range(1, theirs + 1):
            assert copied_layers(kept, "a" * ours, "a" * theirs) == TRUNCATIONS[kept](ours, theirs)
    assert copied_layers("uniform", "aaaa", "aa") == ((1, 1), (2, 1), (3, 2), (4, 2))


def test_layers_of_several_kinds_are_copied_from_their_kind():
    pattern = "abb" * 7 + "a"
    assert copied_layers("first", pattern[:4], pattern) == ((1, 1), (2, 2), (3, 3), (4, 4))
    assert copied_layers("uniform", pattern[:4], pattern) == ((1, 7), (2, 11), (3, 17), (4, 22))
    assert copied_layers("uniform", "abb", "abbbb") == ((1, 1), (2, 3), (3, 5))
    for theirs in range(1, 15):
        for ours in range(1, theirs + 1):
            pairs = copied_layers("uniform", pattern[:ours], pattern[:theirs])
            chosen = [j for _, j in pairs]
            assert [i for i, _ in pairs] == list(range(1, ours + 1)) and chosen == sorted(set(chosen))
            assert "".join(pattern[j - 1] for j in chosen) == pattern[:ours]


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
    first, second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 3)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([1.0, 4.0, 2.0, 3.0])[:, None].expand(4, 3))
        second.weight.fill_(1.0)
    assert strongest_units([first], second, 2).tolist() == [1, 3]
    assert strongest_units([first], second, 6).tolist() == [0, 1, 2, 3, 0, 1]


def test_evenly():
    assert evenly(8, 4).tolist() == [0, 2, 4, 6]
    assert evenly(3, 3).tolist() == [0, 1, 2]


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
