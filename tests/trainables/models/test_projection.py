"""A teacher in a narrower basis: directions, what is fitted and what is kept."""

import pytest
import torch

from spaces.students.architecture import StudentArchitecture
from trainables.models import student as starts
from trainables.models.calibration import fit_map, fit_norms
from trainables.models.encoder import parts
from trainables.models.kept_units import evenly, kept_heads, needed_heads, needed_units
from trainables.models.projection import principal_directions, stream_directions
from trainables.models.stream_sample import sampled_states
from trainables.models.student import build_student

NARROW = {"method": "od", "initialisation": "projected_layers", **vars(StudentArchitecture(4, 24, 4, 64))}


def test_principal_directions_are_orthonormal_and_reconstruct_best():
    scales = torch.tensor([5, 4, 3, 2, 1, 0.5, 0.2, 0.1])
    rows_ND = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * scales
    directions = principal_directions(rows_ND.T @ rows_ND)
    torch.testing.assert_close(directions.T @ directions, torch.eye(8))
    basis = directions[:, :3]
    error = (rows_ND - rows_ND @ basis @ basis.T).square().sum().item()
    best = torch.linalg.svdvals(rows_ND)[3:].square().sum().item()
    assert error == pytest.approx(best, rel=1e-4)


def test_calibration_brings_every_layer_closer_to_the_projected_teacher(teacher, corpus):
    student = build_student(NARROW, teacher, 3, corpus)
    basis = stream_directions(teacher, corpus, (0, 1, 2, 3, 4))[:, :24]
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
        fit_norms(student, teacher, corpus, basis, pairs=tuple((i, i) for i in range(len(wanted))))
    assert all(again < theirs for again, theirs in zip(errors(), plain, strict=True))


def test_a_layer_is_closer_to_its_teachers_when_its_maps_are_fitted(teacher, corpus, monkeypatch):
    fitted = build_student(NARROW, teacher, 3, corpus)
    monkeypatch.setattr(starts, "fit_layer", lambda *args: None)
    copied = build_student(NARROW, teacher, 3, corpus)
    basis = stream_directions(teacher, corpus, (0, 1, 2, 3, 4))[:, :24]
    wanted = [state @ basis for state in sampled_states(teacher.model, corpus)]
    for layer in (1, 2, 3, 4):
        ours, theirs = (sampled_states(each, corpus)[layer] for each in (fitted, copied))
        assert (ours - wanted[layer]).square().mean() < 0.9 * (theirs - wanted[layer]).square().mean()


@pytest.mark.parametrize("bias", [True, False])
def test_a_map_is_fitted_to_what_is_wanted_of_it_on_what_it_reads(bias):
    torch.manual_seed(0)
    seen_NI, wanted = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0)) + 1, torch.nn.Linear(6, 3, bias)
    found = torch.nn.Linear(6, 3, bias)
    with torch.no_grad():
        missed = (found(seen_NI) - wanted(seen_NI)).square().mean()
        fit_map(found, seen_NI, wanted(seen_NI))
        assert (found(seen_NI) - wanted(seen_NI)).square().mean() < 1e-3 * missed  # the old weights count for little
        kept = found.weight.clone()
        fit_map(found, torch.zeros(10, 6), torch.zeros(10, 3))
    torch.testing.assert_close(found.weight, kept)  # where nothing is read, nothing is known


def test_units_are_kept_that_move_the_stream():
    read_NI = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 4.0, 2.0, 3.0])
    read_NI[:, 0] += 100  # a constant is no news
    assert needed_units(read_NI, torch.ones(3, 4), 2).rows.tolist() == [1, 3]
    assert needed_units(read_NI, torch.ones(3, 4), 6).rows.tolist() == [0, 1, 2, 3, 0, 1]


def test_heads_go_that_others_can_stand_in_for():
    """Of four heads of two units the third repeats the first, and the second writes next to nothing."""
    read_NI = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    read_NI[:, 4:6] = read_NI[:, :2] @ torch.tensor([[0.5, 0.5], [-0.5, 0.5]])
    writing_dI = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    writing_dI[:, 2:4] *= 0.01
    assert needed_heads(read_NI, writing_dI, 2, 3).tolist() == [0, 2, 3]
    assert 3 in needed_heads(read_NI, writing_dI, 2, 2) and len(needed_heads(read_NI, writing_dI, 2, 2)) == 2


def test_evenly():
    assert evenly(8, 4).tolist() == [0, 2, 4, 6]
    assert evenly(3, 3).tolist() == [0, 1, 2]


def test_whole_heads_are_kept_where_they_fit(teacher):
    layer, theirs = parts(teacher.model, 1), teacher.facts.architecture
    read_NI = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    read_NI[:, 8:16] = 0  # the second of four heads says nothing, the last little
    read_NI[:, 24:] *= 0.01

    def rows(heads):
        return kept_heads(StudentArchitecture(1, 16, heads, 64), theirs, layer, read_NI, torch.eye(32)).rows.tolist()

    assert rows(2) == rows(1) == [*range(8), *range(16, 24)]
    assert rows(4) == [8 * head + unit for head in range(4) for unit in (0, 2, 4, 6)]
