"""The contract of a transfer method, held by every entry of METHODS."""

from dataclasses import replace

import pytest
import torch

from spaces.errors import SpecError, StillhouseError
from spaces.space.axes import all_axes, axes_of_trial
from spaces.space.table import default_values
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.transfer import METHODS, Pairing
from trainables.losses.loss import Batch
from trainables.models.encoder import Head
from trainables.models.families.bert import BertFacts
from trainables.models.signals import HIDDEN, LOGITS, QKV, pooled

BATCH, TOKENS = 3, 5
RIGHT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
MASKS = {"right": RIGHT, "left": RIGHT.flip(1), "both": torch.tensor([[0, 1, 1, 1, 0]] * BATCH)}
CONFIG = {
    "mapping": "1-2 2-4", "relation_heads": 6, "teacher_layer": 3, "temperature": 2.0, "embed_distance": "cosine",
    "embed_projection": "kept", "embedding_size": 12, "similarity_temperature": 0.5, "student_pooling": "teacher",
}  # fmt: skip
SMALL, LARGE = StudentArchitecture(2, 12, 2, 24), StudentArchitecture(4, 18, 3, 36)
TEACHER = TeacherFacts("t", BertFacts("bert"), LARGE, 11, 64, 2, has_lm_head=True, digest="0")
POSITIONS = torch.tensor([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
LABELS = torch.tensor([1, 2, 3, 4])
METHODS_WITH_A_TEACHER = [name for name in METHODS if METHODS[name].signals]
CLASSES = torch.arange(BATCH) % 5
NONSENSE = (0, -1, True, None, "", "no such", 1.5j, [3])


def draw(*shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def made(asked, width, seed, dtype=torch.float32):
    """A signal out of thin air."""
    signal, layer = asked
    seed += 10 * layer
    if signal == HIDDEN:
        return draw(BATCH, TOKENS, width, seed=seed, dtype=dtype)
    if signal == QKV:
        return tuple(draw(BATCH, TOKENS, width, seed=seed + i, dtype=dtype) for i in range(3))
    if signal == LOGITS:
        shapes = ((4, width), (11, width), (11,))
        return Head(*(draw(*shape, seed=seed + i, dtype=dtype) for i, shape in enumerate(shapes)))
    if signal.name in ("score", "class_scores"):
        return draw(*((BATCH,) if signal.name == "score" else (BATCH, 5)), seed=seed, dtype=dtype)
    if signal == pooled(("mean",), 0):
        return draw(BATCH, width, seed=seed, dtype=dtype)
    hidden = (draw(BATCH, TOKENS, width, seed=seed + i, dtype=dtype) for i in range(len(signal.states(layer))))
    states = [state.positions.take(next(hidden), None, POSITIONS) for state in signal.states(layer)]
    return signal.restore(None, layer, *states)  # of another package; one that needs a model brings a test of its own


def changed(signal, change):
    """A signal with every tensor BTD in it, and every tensor over words, changed."""
    if isinstance(signal, Head):
        return replace(signal, words_ND=change(signal.words_ND))
    return tuple(map(change, signal)) if isinstance(signal, tuple) else change(signal)


class Case:
    """A method set up for a small student and a large teacher, with signals of both."""

    def __init__(self, name, student=SMALL, teacher=LARGE, dtype=torch.float32, config=CONFIG):
        self.method = METHODS[name]
        self.loss = self.method.loss(Pairing({"method": name, **config}, student, teacher))
        self.ours = {asked: made(asked, student.hidden_size, 0, dtype) for asked in self.loss.student}
        self.theirs = {asked: made(asked, teacher.hidden_size, 100, dtype) for asked in self.loss.teacher}
        self.maps = {
            key: draw(p.student_width, p.teacher_width, seed=number, dtype=dtype)
            for number, (key, p) in enumerate(self.loss.projections.items())
        }

    def value(self, mask=None, labels=LABELS, ours=None, theirs=None, classes=CLASSES):
        batch = Batch(mask, labels, classes_B=classes)
        return self.loss.value(ours or self.ours, theirs or self.theirs, self.maps, batch)

    def both(self, change):
        """The loss with the signals of both sides changed."""
        return [{asked: changed(signal, change) for asked, signal in side.items()} for side in (self.ours, self.theirs)]


@pytest.mark.parametrize("name", METHODS)
def test_its_data_is_true(name):
    method, case = METHODS[name], Case(name)
    assert method.name == name and method.meaning and method.paper
    assert {signal.name for signal, _ in case.loss.teacher} == set(method.signals)
    assert any(signal == LOGITS for signal, _ in case.loss.student) == method.student_lm_head
    assert any(signal == LOGITS for signal, _ in case.loss.teacher) == method.needs_lm_head
    if method.student_lm_head or method.needs_lm_head:
        assert method.masked_inputs  # the head is read at the masked positions
    for signal, layer in case.loss.student:
        assert all(0 <= state.layer <= SMALL.num_layers for state in signal.states(layer))
    for signal, layer in case.loss.teacher:
        assert all(0 <= state.layer <= LARGE.num_layers for state in signal.states(layer))


@pytest.mark.parametrize("name", METHODS)
def test_it_reads_nothing_that_it_does_not_declare(name):
    """Neither signals nor projections nor axes: here it gets those that it declares and no others."""
    axes = {axis.name for axis in METHODS[name].axes}
    Case(name, config={key: value for key, value in CONFIG.items() if key in axes}).value()


@pytest.mark.parametrize("name", METHODS)
def test_its_gradients_reach_all_that_it_declares_and_nothing_of_the_teacher(name):
    case = Case(name)
    tensors = [tensor for side in (case.ours.values(), case.maps.values()) for signal in side
               for tensor in (vars(signal).values() if isinstance(signal, Head) else
                              signal if isinstance(signal, tuple) else (signal,))]  # fmt: skip
    for tensor in tensors:
        tensor.requires_grad_()
    loss = case.value()
    assert loss.ndim == 0 and loss.item() > 0
    loss.backward()
    assert tensors and all(tensor.grad.isfinite().all() and tensor.grad.any() for tensor in tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", METHODS_WITH_A_TEACHER)
def test_it_is_zero_where_the_student_is_the_teacher(name, dtype):
    config = CONFIG | {"mapping": "uniform", "teacher_layer": 2}
    case = Case(name, SMALL, SMALL, dtype, config)
    case.maps = {key: torch.eye(12, dtype=torch.promote_types(dtype, torch.float32)) for key in case.maps}
    for mask in (None, RIGHT):
        assert case.value(mask, theirs=case.ours).item() == 0.0


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("name", METHODS)
def test_padding_never_counts(name, mask):
    case = Case(name)
    spoil = lambda x: x if x.ndim < 3 else x.masked_fill(mask[:, :, None] == 0, 50.0)  # noqa: E731
    ours, theirs = case.both(spoil)
    assert torch.equal(case.value(mask, ours=ours, theirs=theirs), case.value(mask))


@pytest.mark.parametrize("name", METHODS)
def test_it_is_a_mean_over_valid_positions(name):
    """The same batch twice, the same tokens under padding on either side: the same loss."""
    case = Case(name)
    once = case.value(torch.ones(BATCH, TOKENS)).item()
    assert case.value(None).item() == pytest.approx(once, rel=1e-5)
    ours, theirs = case.both(lambda x: torch.cat([x, x]))
    twice = [torch.cat([each, each]) for each in (LABELS, CLASSES)]
    assert case.value(None, twice[0], ours, theirs, twice[1]).item() == pytest.approx(once, rel=1e-5)
    for side in ((0, TOKENS), (TOKENS, 0)):
        pad = lambda x, side=side: x if x.ndim < 3 else torch.nn.functional.pad(x, (0, 0, *side), value=9.0)  # noqa: E731
        ours, theirs = case.both(pad)
        mask = torch.nn.functional.pad(torch.ones(BATCH, TOKENS), side)
        assert case.value(mask, ours=ours, theirs=theirs).item() == pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_it_takes_half_precision_signals(name):
    half, exact = Case(name, dtype=torch.bfloat16), Case(name)
    half.maps = exact.maps
    loss = half.value()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.value().item(), rel=0.02)


@pytest.mark.parametrize("name", METHODS)
def test_its_axes_have_a_default_a_column_and_rules(name):
    for axis in METHODS[name].axes:
        assert all_axes()[axis.name] is axis and axis.name in axes_of_trial(name)
        assert axis.meaning and axis.kind in (str, int, float)
        values = default_values(axis, TEACHER)
        for value in values.choices or values.ends:
            assert type(value) is axis.kind and axis.read(value) == value
        for value in values.choices:
            assert axis.same_as(value, values.choices, SMALL, TEACHER) in (None, *values.choices)
            for rule in axis.rules:
                assert rule.statement and isinstance(rule.objection(value, SMALL, TEACHER), str | None)
        for value in NONSENSE:
            with pytest.raises(SpecError):
                axis.read(value)


def test_two_methods_may_share_an_axis_but_not_its_name(monkeypatch):
    (shared,) = METHODS["mha_direct"].axes
    assert shared in METHODS["mha"].axes
    for taken, owner in ((shared, "'mha'"), (all_axes()["learning_rate"], "every trial")):
        other = replace(METHODS["mlm"], axes=(replace(taken, meaning="another"),))
        monkeypatch.setattr("spaces.space.axes.METHODS", {"mha": METHODS["mha"], "mlm": other})
        with pytest.raises(StillhouseError, match=f"method 'mlm' has an axis '{taken.name}' of its own.*{owner}"):
            all_axes.__wrapped__()
