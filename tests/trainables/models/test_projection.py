"""A teacher in a narrower basis: directions, what is fitted and what is kept."""

import pytest
import torch

from spaces.students.architecture import StudentArchitecture
from trainables.models.projection import (
    calibrate,
    evenly,
    kept_heads,
    principal_directions,
    sampled_states,
    stream_directions,
    strongest_units,
)
from trainables.models.student import build_student, untrained

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


def test_whole_heads_are_kept_where_they_fit(teacher):
    wide = [
        kept_heads(untrained(teacher, StudentArchitecture(1, 16, heads, 64), 0), teacher.model).rows.tolist()
        for heads in (2, 1)
    ]
    assert wide[0] == wide[1] == [*range(8), *range(16, 24)]  # of 4 heads of 8 the first and the third
    narrow = kept_heads(untrained(teacher, StudentArchitecture(1, 16, 4, 64), 0), teacher.model).rows
    assert narrow.tolist() == [8 * head + unit for head in range(4) for unit in (0, 2, 4, 6)]
