"""The mapped squared error against the plain formula: values, gradients, chunks, kinds of numbers, memory."""

import pytest
import torch

from trainables.export.measuring import LiveBytes
from trainables.losses import regression
from trainables.losses.regression import mapped_mse

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
LENGTHS = torch.tensor([9, 4, 0, 7])
RIGHT = torch.arange(9) < LENGTHS[:, None]
MASKS = {"none": None, "right": RIGHT, "left": RIGHT.flip(1).int()}


def draw(*shape, seed=0, dtype=torch.float64, device="cpu"):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def plain_mse(student_BTD, map_DE, teacher_BTE, mask_BT):
    errors_BTE = (student_BTD @ map_DE - teacher_BTE).square()
    return (errors_BTE if mask_BT is None else errors_BTE[mask_BT.bool()]).mean()


def value_and_gradients(loss, inputs):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    value = loss(*inputs)
    return value.detach(), torch.autograd.grad(2.5 * value, inputs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("errors", [1, 100, 10**6])
@pytest.mark.parametrize("mask", MASKS)
def test_it_is_the_plain_formula_in_chunks_of_any_size(mask, errors, device, monkeypatch):
    for name in ("CHUNK_CPU", "CHUNK_GPU"):
        monkeypatch.setattr(regression, name, errors)
    mask_BT = None if mask == "none" else MASKS[mask].to(device)
    inputs, teacher = (
        [draw(4, 9, 6, device=device), draw(6, 10, seed=1, device=device)],
        draw(4, 9, 10, seed=2).to(device),
    )
    plain = value_and_gradients(lambda *x: plain_mse(*x, teacher, mask_BT), inputs)
    ours = value_and_gradients(lambda *x: mapped_mse(*x, teacher, mask_BT), inputs)
    torch.testing.assert_close(ours, plain, atol=1e-13, rtol=1e-11)
    with torch.autocast(device, torch.bfloat16):
        under = value_and_gradients(lambda *x: mapped_mse(*x, teacher, mask_BT), inputs)
    torch.testing.assert_close(under, ours, atol=0.0, rtol=0.0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kept", [torch.float32, torch.float16, torch.bfloat16])
def test_teachers_of_any_precision_in_single_precision(kept, device):
    single = {"dtype": torch.float32, "device": device}
    inputs, teacher = [draw(8, 128, 96, **single), draw(96, 384, seed=1, **single) / 10], draw(8, 128, 384, seed=2)
    teacher = teacher.to(device, kept)
    exact = value_and_gradients(lambda *x: plain_mse(*x, teacher.double(), None), [x.double() for x in inputs])
    value, gradients = value_and_gradients(lambda *x: mapped_mse(*x, teacher, None), inputs)
    assert value.item() == pytest.approx(exact[0].item(), rel=1e-6)
    for mine, right in zip(gradients, exact[1], strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), right, atol=1e-6 * right.abs().max().item(), rtol=1e-4)


def test_gradients_have_the_kind_of_their_inputs():
    inputs = [draw(2, 5, 6, dtype=torch.bfloat16), draw(6, 10, dtype=torch.float32)]
    value, gradients = value_and_gradients(lambda *x: mapped_mse(*x, draw(2, 5, 10), None), inputs)
    assert value.dtype == torch.float64  # of the teacher here
    assert [x.dtype for x in gradients] == [torch.bfloat16, torch.float32]


def test_only_wanted_gradients_are_made():
    student, matrix, teacher = draw(2, 5, 6), draw(6, 10, seed=1), draw(2, 5, 10, seed=2)
    assert not mapped_mse(student, matrix, teacher, None).requires_grad
    for wanted, other in ((student, matrix), (matrix, student)):
        wanted.requires_grad_()
        mapped_mse(student, matrix, teacher, None).backward()
        assert wanted.grad is not None and other.grad is None
        wanted.requires_grad_(False).grad = None


def test_errors_are_never_held_for_all_positions():
    student, matrix, teacher = (
        draw(*shape, dtype=torch.float32) for shape in ((8, 512, 32), (32, 1024), (8, 512, 1024))
    )
    inputs = [x.requires_grad_() for x in (student, matrix)]
    peaks = {}
    for loss in (mapped_mse, plain_mse):
        with LiveBytes({x.untyped_storage().data_ptr() for x in (*inputs, teacher)}) as live:
            loss(*inputs, teacher, None).backward()
        peaks[loss] = live.peak
    assert peaks[mapped_mse] < teacher.nbytes / 8 and peaks[plain_mse] > 2 * teacher.nbytes
