"""Every loss against a reference written in loops, its gradient, and which layers a method takes it of."""

import math

import pytest
import torch

from spaces.students.architecture import StudentArchitecture
from spaces.students.transfer import METHODS, Pairing
from trainables.losses.hs import hidden_state_loss
from trainables.losses.labels import label_loss
from trainables.losses.loss import Batch
from trainables.losses.mha import relation_loss
from trainables.losses.mha_direct import NAMES, direct_loss
from trainables.losses.mlm import masked_lm_loss
from trainables.losses.od import output_distribution_loss
from trainables.losses.regression import mapped_mse
from trainables.losses.soft_labels import soft_label_loss
from trainables.models.encoder import Head
from trainables.models.signals import HIDDEN, LOGITS, QKV

BATCH, TOKENS = 3, 5
RIGHT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
MASKS = {"none": None, "right": RIGHT, "left": RIGHT.flip(1), "both": torch.tensor([[0, 1, 1, 1, 0]] * BATCH)}
CONFIG = {"mapping": "1-2 2-4", "relation_heads": 6, "teacher_layer": 3, "temperature": 2.0}
PAIRING = Pairing(CONFIG, StudentArchitecture(2, 12, 2, 24), StudentArchitecture(4, 18, 3, 36))


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def three(width, seed, dtype=torch.float32):
    return tuple(draw(BATCH, TOKENS, width, seed=seed + i, dtype=dtype) for i in range(3))


def softmax(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_soft_labels_are_the_divergence_of_two_distributions_over_classes():
    ours, theirs = draw(BATCH, 4, seed=1), draw(BATCH, 4, seed=2)
    for temperature in (1.0, 3.0):
        rows = zip(ours.tolist(), theirs.tolist(), strict=True)
        divergences = [
            kl(*(softmax([z / temperature for z in each]) for each in (theirs_C, ours_C))) for ours_C, theirs_C in rows
        ]
        expected = temperature**2 * sum(divergences) / BATCH
        assert soft_label_loss(ours, theirs, temperature).item() == pytest.approx(expected, rel=1e-5)
    assert soft_label_loss(theirs, theirs, 2.0).item() == 0


def test_labels_are_learnt_by_cross_entropy():
    ours, classes = draw(BATCH, 4, seed=1), torch.tensor([2, 0, 3])
    expected = (
        -sum(math.log(softmax(row)[place]) for row, place in zip(ours.tolist(), classes.tolist(), strict=True)) / BATCH
    )
    assert label_loss(ours, classes).item() == pytest.approx(expected, rel=1e-5)


def slow_relations(x, b, head, size, i, valid):
    """Row i of the relations of one head among the valid tokens."""
    part = slice(head * size, (head + 1) * size)
    return softmax([sum((x[b, i, part] * x[b, j, part]).tolist()) / math.sqrt(size) for j in valid])


def slow_relation_loss(student_qkv, teacher_qkv, mask, heads):
    total = 0.0
    for student, teacher in zip(student_qkv, teacher_qkv, strict=True):
        rows = []
        for b in range(BATCH):
            valid = [t for t in range(TOKENS) if mask is None or mask[b, t]]
            for head in range(heads):
                for i in valid:
                    theirs = slow_relations(teacher, b, head, teacher.shape[-1] // heads, i, valid)
                    ours = slow_relations(student, b, head, student.shape[-1] // heads, i, valid)
                    rows.append(kl(theirs, ours))
        total += sum(rows) / len(rows)
    return total


def slow_mse(student, teacher, mask):
    rows = [
        math.dist(student[i, t].tolist(), teacher[i, t].tolist()) ** 2 / student.shape[-1]
        for i in range(BATCH) for t in range(TOKENS) if mask is None or mask[i, t]
    ]  # fmt: skip
    return sum(rows) / len(rows)


@pytest.mark.parametrize("heads", [1, 2, 6])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_relation_loss_is_the_loops(mask, heads):
    student, teacher = three(12, 0), three(18, 10)
    fast = relation_loss(student, teacher, mask, heads).item()
    assert fast == pytest.approx(slow_relation_loss(student, teacher, mask, heads), rel=1e-5)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_regression_losses_are_the_loops(mask):
    mapped = list(zip(three(12, 0), [draw(12, 18, seed=i) for i in range(3)], three(18, 10), strict=True))
    slow = [slow_mse(x.double() @ map_DE.double(), y, mask) for x, map_DE, y in mapped]
    assert hidden_state_loss(mapped, mask).item() == pytest.approx(sum(slow) / 3, rel=1e-6)
    assert direct_loss(mapped, mask).item() == pytest.approx(sum(slow), rel=1e-6)


def head(positions, width, vocabulary, seed, dtype=torch.float32):
    """A head and its logits as lists."""
    made = Head(*(draw(*shape, seed=seed + i, dtype=dtype) for i, shape in enumerate(
        ((positions, width), (vocabulary, width), (vocabulary,)))))  # fmt: skip
    return made, (made.words_ND.double() @ made.weight_VD.double().T + made.bias_V.double()).tolist()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_output_distribution_loss_is_the_loops(temperature):
    (student, ours), (teacher, theirs) = head(7, 3, 11, 0), head(7, 5, 11, 10)
    rows = [
        kl(softmax([x / temperature for x in t]), softmax([x / temperature for x in s]))
        for s, t in zip(ours, theirs, strict=True)
    ]
    fast = output_distribution_loss(student, teacher, temperature).item()
    assert fast == pytest.approx(temperature**2 * sum(rows) / 7, rel=1e-5)


def test_masked_lm_loss_is_the_loops():
    (student, logits), labels = head(7, 3, 11, 0), [3, 0, 10, 3, 5, 1, 9]
    slow = [-math.log(softmax(row)[label]) for row, label in zip(logits, labels, strict=True)]
    assert masked_lm_loss(student, torch.tensor(labels)).item() == pytest.approx(sum(slow) / 7, rel=1e-5)


def test_losses_do_not_grow_with_batch_length_or_heads():
    student, teacher = three(12, 0), three(18, 10)
    three_heads = relation_loss(student, teacher, None, 3).item()
    twice = [tuple(torch.cat([x, x]) for x in qkv) for qkv in (student, teacher)]
    assert relation_loss(*twice, None, 3).item() == pytest.approx(three_heads, rel=1e-5)
    padded = [tuple(torch.cat([x, x], dim=1) for x in qkv) for qkv in (student, teacher)]
    mask = torch.cat([torch.ones(BATCH, TOKENS), torch.zeros(BATCH, TOKENS)], dim=1)
    assert relation_loss(*padded, mask, 3).item() == pytest.approx(three_heads, rel=1e-5)
    # Two equal relation heads, each the whole of a one-head problem: a mean over heads, not a sum.
    doubled = [tuple(torch.cat([x, x], dim=-1) for x in qkv) for qkv in (student, teacher)]
    one_head = relation_loss(student, teacher, None, 1).item()
    assert relation_loss(*doubled, None, 2).item() == pytest.approx(one_head, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_exactly_zero_at_equality(mask, dtype):
    same = three(12, 0, dtype)
    alike, _ = head(7, 3, 11, 0, dtype)
    assert relation_loss(same, same, mask, 6).item() == 0.0
    mapped = [(x, torch.eye(12, dtype=torch.promote_types(dtype, torch.float32)), x) for x in same]
    assert hidden_state_loss(mapped, mask).item() == 0.0
    assert direct_loss(mapped, mask).item() == 0.0
    assert output_distribution_loss(alike, alike, 2.0).item() == 0.0


@pytest.mark.parametrize("mask", [None, RIGHT, RIGHT.flip(1)], ids=["none", "right", "left"])
def test_gradients(mask):
    student, teacher = three(4, 0, torch.float64), three(6, 10, torch.float64)
    for x in student:
        x.requires_grad_()
    assert torch.autograd.gradcheck(lambda *qkv: relation_loss(qkv, teacher, mask, 2), student, fast_mode=True)
    maps = tuple(draw(4, 6, seed=20 + i, dtype=torch.float64).requires_grad_() for i in range(3))
    for loss in (hidden_state_loss, direct_loss):
        mapped = lambda *x, loss=loss: loss(list(zip(x[:3], x[3:], teacher, strict=True)), mask)  # noqa: E731
        assert torch.autograd.gradcheck(mapped, (*student, *maps), fast_mode=True)


def test_gradients_of_the_head():
    student, teacher = head(3, 2, 5, 0, torch.float64)[0], head(3, 4, 5, 10, torch.float64)[0]
    ours = tuple(x.requires_grad_() for x in vars(student).values())
    assert torch.autograd.gradcheck(lambda *x: output_distribution_loss(Head(*x), teacher, 3.0), ours)
    assert torch.autograd.gradcheck(lambda *x: masked_lm_loss(Head(*x), torch.tensor([4, 0, 2])), ours)


def test_half_precision_is_upcast_and_double_stays():
    assert relation_loss(three(12, 0, torch.bfloat16), three(12, 1, torch.bfloat16), None, 2).dtype == torch.float32
    assert relation_loss(three(12, 0, torch.float64), three(12, 1, torch.float64), None, 2).dtype == torch.float64


def signals(width, layers, seed):
    """All that a model of this many layers has."""
    hidden = {(HIDDEN, layer): draw(BATCH, TOKENS, width, seed=seed + layer) for layer in range(1, layers + 1)}
    qkv = {(QKV, layer): three(width, seed + 50 + layer) for layer in range(1, layers + 1)}
    return {**hidden, **qkv, (LOGITS, layers): head(4, width, 11, seed)[0]}


def test_each_method_takes_the_layers_it_is_configured_for():
    ours, theirs, batch = signals(12, 2, 0), signals(18, 4, 100), Batch(RIGHT, torch.tensor([1, 2, 3, 4]))
    losses = {name: METHODS[name].loss(PAIRING) for name in ("od", "hs", "mha", "mha_direct", "mlm")}
    maps = {name: {key: draw(12, 18, seed=i) for i, key in enumerate(losses[name].projections)} for name in losses}
    hs, direct = maps["hs"], maps["mha_direct"]
    expected = {
        "od": output_distribution_loss(ours[LOGITS, 2], theirs[LOGITS, 4], 2.0),
        "hs": (
            mapped_mse(ours[HIDDEN, 1], hs["hidden_1_2"], theirs[HIDDEN, 2], RIGHT)
            + mapped_mse(ours[HIDDEN, 2], hs["hidden_2_4"], theirs[HIDDEN, 4], RIGHT)
        )
        / 2,
        "mha": relation_loss(ours[QKV, 2], theirs[QKV, 3], RIGHT, 6),
        "mha_direct": sum(
            mapped_mse(ours[QKV, 2][i], direct[name], theirs[QKV, 3][i], RIGHT) for i, name in enumerate(NAMES)
        ),
        "mlm": masked_lm_loss(ours[LOGITS, 2], batch.labels_N),
    }
    for name, value in expected.items():
        loss = losses[name].value(ours, theirs, maps[name], batch)
        assert loss.item() == pytest.approx(value.item(), rel=1e-6), name
