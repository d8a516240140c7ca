"""The fused losses against the plain formulas that materialise everything: values, gradients, chunks, memory."""

import pytest
import torch
import torch.nn.functional as F

from trainables.export.measuring import LiveBytes
from trainables.losses import fused
from trainables.losses.fused import Decoded, hard_targets, soft_targets
from trainables.losses.mha import relation_loss
from trainables.machine import pinned_threads

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
LENGTHS = torch.tensor([9, 4, 0, 7])


def draw(*shape, seed=0, dtype=torch.float64, device="cpu"):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def plain_relations(student_qkv, teacher_qkv, mask_BT, heads, window=None):
    """Equations 4 to 6 of MiniLMv2, every tensor in full; padded rows are taken out at the end."""

    def log_relations(x_BTD):
        x_BRTH = x_BTD.unflatten(-1, (heads, -1)).transpose(1, 2)
        scores_BRTT = x_BRTH @ x_BRTH.mT / x_BRTH.shape[-1] ** 0.5
        if mask_BT is not None:
            scores_BRTT = scores_BRTT.masked_fill(~mask_BT.bool()[:, None, None, :], -1e30)
        if window is not None:
            seen_TT = [[abs(i - j) <= window // 2 for j in range(x_BTD.shape[1])] for i in range(x_BTD.shape[1])]
            scores_BRTT = scores_BRTT.masked_fill(~torch.tensor(seen_TT, device=x_BTD.device), -1e30)
        return F.log_softmax(scores_BRTT, -1)

    total = 0.0
    for student, teacher in zip(student_qkv, teacher_qkv, strict=True):
        theirs, ours = log_relations(teacher), log_relations(student)
        rows_BTR = (theirs.exp() * (theirs - ours)).sum(-1).transpose(1, 2)
        total = total + (rows_BTR if mask_BT is None else rows_BTR[mask_BT.bool()]).mean()
    return total


def plain_logits(words, weight, bias):
    return words @ weight.T + bias


def value_and_gradients(loss, inputs):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    value = loss(*inputs)
    return value.detach(), torch.autograd.grad(2.5 * value, inputs)


def three(width, seed, tokens=9, **options):
    return [draw(4, tokens, width, seed=seed + i, **options) for i in range(3)]


@pytest.fixture(params=[8, 60, 300, 2**16])
def chunk(request, monkeypatch):
    """From less than a row of scores, over some rows of a unit and some units of a text, to several texts."""
    for name in ("CHUNK_CPU", "CHUNK_GPU"):
        monkeypatch.setattr(fused, name, request.param)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mask", ["none", "right", "left"])
def test_relations_are_the_plain_formula_in_chunks_of_any_size(chunk, mask, device):
    right_BT = (torch.arange(9) < LENGTHS[:, None]).to(device)
    mask_BT = {"none": None, "right": right_BT, "left": right_BT.flip(1)}[mask]
    student, teacher = three(12, 0, device=device), three(18, 10, device=device)
    for heads in ((1, None), (6, None), (6, 5)):  # and a window
        plain = value_and_gradients(lambda *x, r=heads: plain_relations(x, teacher, mask_BT, *r), student)
        ours = value_and_gradients(lambda *x, r=heads: relation_loss(x, teacher, mask_BT, *r), student)
        torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_relations_in_single_precision(device):
    student, teacher = three(96, 0, 150, dtype=torch.float32, device=device), three(192, 10, 150, device=device)
    plain = value_and_gradients(lambda *x: plain_relations(x, teacher, None, 12), [x.double() for x in student])
    theirs = [x.float() for x in teacher]
    ours = value_and_gradients(lambda *x: relation_loss(x, theirs, None, 12), student)
    assert ours[0].dtype == torch.float32
    assert ours[0].item() == pytest.approx(plain[0].item(), rel=1e-5)
    for mine, exact in zip(ours[1], plain[1], strict=True):
        torch.testing.assert_close(mine.double(), exact, atol=1e-5 * exact.abs().max().item(), rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_equal_relations_and_equal_logits_have_neither_loss_nor_gradient(device):
    for dtype in (torch.float32, torch.bfloat16):
        same = three(96, 0, 150, dtype=dtype, device=device)
        value, gradients = value_and_gradients(lambda *x, s=same: relation_loss(x, s, None, 12), same)
        assert value.item() == 0.0
        assert all(g.dtype == dtype and not g.any() for g in gradients)
        head = [draw(*shape, dtype=dtype, device=device) for shape in ((40, 24), (300, 24), (300,))]
        value, gradients = value_and_gradients(lambda *x, h=head: Decoded.apply(soft_targets(*h, 2.0), *x), head)
        assert value.item() == 0.0
        assert all(g.dtype == dtype and not g.any() for g in gradients)


def test_only_wanted_gradients_are_made():
    student, teacher = three(12, 0), three(18, 10)
    student[1].requires_grad_()
    relation_loss(student, teacher, None, 6).backward()
    assert [x.grad is not None for x in student] == [False, True, False]
    assert not relation_loss(three(12, 0), teacher, None, 6).requires_grad
    words, weight, bias = draw(5, 3), draw(7, 3).requires_grad_(), draw(7)
    Decoded.apply(hard_targets(torch.arange(5)), words, weight, bias).backward()
    assert weight.grad is not None
    assert words.grad is None and bias.grad is None


def test_padding_may_hold_anything():
    student, teacher, mask_BT = three(12, 0), three(18, 10), torch.arange(9) < LENGTHS[:, None]
    clean = value_and_gradients(lambda *x: relation_loss(x, teacher, mask_BT, 6), student)
    spoilt = [x.masked_fill(~mask_BT[:, :, None], float("nan")) for x in student]
    dirty = value_and_gradients(lambda *x: relation_loss(x, teacher, mask_BT, 6), spoilt)
    torch.testing.assert_close(dirty, clean, atol=0.0, rtol=0.0)


def test_scores_of_any_size_stay_finite():
    student, teacher = [300 * x for x in three(12, 0, dtype=torch.float32)], three(18, 10, dtype=torch.float32)
    for ours, theirs in ((student, teacher), (teacher, student)):  # scores up to 1e6, whose float32 are 0.06 apart
        value, gradients = value_and_gradients(lambda *x, t=theirs: relation_loss(x, t, None, 2), ours)
        assert value.isfinite() and all(g.isfinite().all() for g in gradients)
        assert value.item() == pytest.approx(
            plain_relations([x.double() for x in ours], [x.double() for x in theirs], None, 2).item(), rel=5e-3
        )


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_changes_nothing(device):
    student, teacher = (three(w, s, dtype=torch.float32, device=device) for w, s in ((12, 0), (18, 10)))
    head = [draw(*shape, dtype=torch.float32, device=device) for shape in ((5, 3), (7, 3), (7,))]
    for loss, inputs in (
        (lambda *x: relation_loss(x, teacher, None, 6), student),
        (lambda *x: Decoded.apply(soft_targets(*(h + 1 for h in head), 2.0), *x), head),
    ):
        exact = value_and_gradients(loss, inputs)
        with torch.autocast(device, torch.bfloat16):
            under = value_and_gradients(loss, inputs)
        torch.testing.assert_close(under, exact, atol=0.0, rtol=0.0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("logits", [1, 350, 10**6])
def test_decoded_losses_are_the_plain_formulas_in_chunks_of_any_size(logits, device, monkeypatch):
    for name in ("LOGITS_CPU", "LOGITS_GPU"):
        monkeypatch.setattr(fused, name, logits)
    student = [draw(*shape, device=device, seed=i) for i, shape in enumerate(((37, 3), (11, 3), (11,)))]
    teacher = [draw(*shape, device=device, seed=9 + i) for i, shape in enumerate(((37, 5), (11, 5), (11,)))]
    labels = (torch.arange(37) % 11).to(device)

    def plain(*x):
        ours, theirs = (F.log_softmax(plain_logits(*head) / 3, -1) for head in (x, teacher))
        return 9 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)

    expected = value_and_gradients(plain, student)
    ours = value_and_gradients(lambda *x: Decoded.apply(soft_targets(*teacher, 3.0), *x), student)
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-9)
    expected = value_and_gradients(lambda *x: F.cross_entropy(plain_logits(*x), labels), student)
    ours = value_and_gradients(lambda *x: Decoded.apply(hard_targets(labels), *x), student)
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-9)


def test_half_precision_words_are_multiplied_in_half_and_summed_in_single():
    head = [draw(*shape, seed=i) for i, shape in enumerate(((64, 32), (200, 32), (200,)))]
    labels = torch.arange(64)
    exact = value_and_gradients(lambda *x: F.cross_entropy(plain_logits(*x), labels), head)
    words, weight, bias = head[0].bfloat16(), head[1].float(), head[2].float()
    value, gradients = value_and_gradients(lambda *x: Decoded.apply(hard_targets(labels), *x), [words, weight, bias])
    assert [g.dtype for g in gradients] == [torch.bfloat16, torch.float32, torch.float32]
    assert value.item() == pytest.approx(exact[0].item(), rel=0.01)
    for mine, right in zip(gradients, exact[1], strict=True):
        assert F.cosine_similarity(mine.double().flatten(), right.flatten(), 0) > 0.999


def test_a_tied_matrix_gets_the_gradient_of_both_its_uses():
    ids, labels, bias = torch.arange(5), torch.arange(5) + 1, draw(11)

    def tied(decode):
        matrix = draw(11, 3).requires_grad_()
        decode(F.embedding(ids, matrix).tanh(), matrix).backward()
        return matrix.grad

    ours = tied(lambda words, matrix: Decoded.apply(hard_targets(labels), words, matrix, bias))
    plain = tied(lambda words, matrix: F.cross_entropy(plain_logits(words, matrix, bias), labels))
    torch.testing.assert_close(ours, plain)


def peak_bytes(loss, inputs):
    inputs = [x.detach().requires_grad_() for x in inputs]
    with LiveBytes({x.untyped_storage().data_ptr() for x in inputs}) as live:
        loss(*inputs).backward()
    return live.peak


def test_relations_are_never_held_for_all_heads_and_rows():
    student, teacher = ([draw(2, 256, 96, seed=s + i, dtype=torch.float32) for i in range(3)] for s in (0, 10))
    relations = 2 * 48 * 256 * 256 * 4
    with pinned_threads(1):  # every thread has a chunk
        assert peak_bytes(lambda *x: relation_loss(x, teacher, None, 48), student) < relations / 8
    assert peak_bytes(lambda *x: plain_relations(x, teacher, None, 48), student) > relations


def test_logits_are_never_held_for_all_positions(monkeypatch):
    monkeypatch.setattr(fused, "LOGITS_CPU", 2**20)
    positions, vocabulary = 4096, 4000
    student, teacher = (
        [draw(*shape, seed=s, dtype=torch.float32) for shape in ((positions, 16), (vocabulary, 16), (vocabulary,))]
        for s in (0, 10)
    )
    labels = torch.zeros(positions, dtype=torch.long)
    for criterion in (soft_targets(*teacher, 1.0), hard_targets(labels)):
        assert peak_bytes(lambda *x, c=criterion: Decoded.apply(c, *x), student) < positions * vocabulary * 4 / 3
