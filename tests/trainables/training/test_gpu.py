"""On an NVIDIA GPU, where there is one: the relation kernels against the chunks in double precision, and whole trials
against the same trials on the CPU."""

import pytest
import torch
from small_trials import EXACT, METHODS, STEP, fill, run

from trainables.export.measuring import measure_latency, measure_peak_memory
from trainables.losses.fused import has_kernels, relations_by_chunk
from trainables.losses.mha import relation_loss
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
HALVES = (torch.float16, torch.bfloat16)
DTYPES = [(torch.float32, torch.float32), (torch.float32, torch.bfloat16), *zip(HALVES, HALVES, strict=True)]


@pytest.fixture(scope="module")
def on_gpu(write_teacher):
    teacher = load_teacher(str(write_teacher("bert")))
    teacher.model.to("cuda")
    return teacher


def draw(*shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to("cuda", dtype)


@pytest.mark.parametrize("dtypes", DTYPES, ids=lambda pair: "-".join(str(x).removeprefix("torch.") for x in pair))
@pytest.mark.parametrize("mask", ["none", "right", "left"])
@pytest.mark.parametrize("widths", [(192, 384), (384, 1024), (48, 96)])
@pytest.mark.parametrize("length", [1, 9, 300])
def test_the_kernels_are_the_chunks_in_double(length, widths, mask, dtypes):
    from trainables.losses.relation_kernels import relations

    student, teacher = (draw(5, length, w, seed=w, dtype=kind) for w, kind in zip(widths, dtypes, strict=True))
    right_BT = (
        torch.arange(length, device="cuda") < torch.tensor([length, 0, length // 2, 1, length - 1]).cuda()[:, None]
    )
    mask_BT = {"none": None, "right": right_BT, "left": right_BT.flip(1)}[mask]
    if mask_BT is not None:
        student, teacher = (x.masked_fill(~mask_BT[:, :, None], float("nan")) for x in (student, teacher))
    for heads in (12, 48, 64):
        if widths[0] % heads or widths[1] % heads:
            continue
        assert has_kernels(student, teacher, heads)
        exact, exact_BTD = relations_by_chunk(student.double(), teacher.double(), mask_BT, heads, True)
        value, gradient_BTD = relations(student, teacher, mask_BT, heads, True)
        alone, nothing = relations(student, teacher, mask_BT, heads, False)
        assert nothing is None and alone == value
        assert value.item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-5)
        error = 1e-5 if torch.float32 in dtypes else 1e-3
        torch.testing.assert_close(
            gradient_BTD.double(), exact_BTD, rtol=0.0, atol=error * max(1.0, exact_BTD.abs().max().item())
        )


def test_a_view_of_something_wider_will_do():
    from trainables.losses.relation_kernels import relations

    student, teacher = draw(4, 70, 192, seed=1), draw(4, 70, 384, seed=2)
    wide = torch.cat([draw(4, 70, 192, seed=3), student], -1)
    for view in (wide[:, :, 192:], student.mT.contiguous().mT):
        expected, ours = relations(student, teacher, None, 12, True), relations(view, teacher, None, 12, True)
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


def test_no_relation_is_ever_held():
    students, teachers = ([draw(8, 512, w, seed=s) for s in range(3)] for w in (192, 384))
    for x in students:
        x.requires_grad_()
    relation_loss(students, teachers, None, 48).backward()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    relation_loss(students, teachers, None, 48).backward()
    assert torch.cuda.max_memory_allocated() - before < 8 * 48 * 512 * 512 * 4 / 8


@pytest.mark.parametrize("name", METHODS)
def test_a_trial_has_the_curve_of_the_cpu(name, teacher, on_gpu, corpus):
    _, expected, _ = run(METHODS[name], teacher, corpus)
    rows = []
    student = build_student(METHODS[name], on_gpu, 0, corpus).to("cuda")
    outcome = distil(student, on_gpu, corpus, TrainingRun(METHODS[name], 10 * STEP, 0, EXACT), rows.append)
    assert [row.loss for row in rows] == pytest.approx([row.loss for row in expected], rel=1e-2)
    assert outcome.held_out_loss < rows[0].loss * 1.1


@pytest.mark.parametrize("name", METHODS)
def test_half_precision_learns(name, on_gpu, corpus):
    rows = []
    student = build_student(METHODS[name], on_gpu, 0, corpus).to("cuda")
    outcome = distil(student, on_gpu, corpus, TrainingRun(METHODS[name], 60 * STEP, 0), rows.append)
    assert outcome.loss_last < 0.97 * rows[0].loss
    assert all(parameter.dtype == torch.float32 for parameter in student.parameters())


def test_targets_written_and_read_there_are_the_live_teacher(on_gpu, plan, corpus):
    kept = fill(plan, on_gpu)
    for name, config in METHODS.items():
        curves = []
        for targets in (None, kept):
            student, rows = build_student(config, on_gpu, 0, corpus).to("cuda"), []
            outcome = distil(
                student, on_gpu, corpus, TrainingRun(config, 10 * STEP, 0, EXACT), rows.append, targets=targets
            )
            curves.append([row.loss for row in rows])
        assert outcome.targets == ("none" if name == "mlm" else "cache")
        assert curves[1] == pytest.approx(curves[0], rel=1e-2), name


def test_latency_and_memory_are_of_the_device(on_gpu):
    options = {"batch_size": 2, "sequence_length": 32, "device": "cuda"}
    latency = measure_latency(on_gpu.model, threads=1, **options)
    assert 0 < latency.p50_ms <= latency.p95_ms
    assert 0 < measure_peak_memory(on_gpu.model, **options) < 100
    assert next(on_gpu.model.parameters()).device.type == "cuda"
