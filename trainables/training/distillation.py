"""Student, learned projections and the loss of a method as one module; how it reads its batches and the teacher.

Shapes: B batch, T tokens, D teacher width, d student width.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from spaces.errors import StillhouseError
from spaces.students.architecture import architecture_of
from spaces.students.transfer import METHODS, Pairing, parse_method
from trainables.losses.loss import Batch, Loss, Projection
from trainables.models.embedding import embedder_of, set_embedder
from trainables.models.projection import stream_directions
from trainables.models.signals import HIDDEN, LayerSignal, Signals, State, read_signals, restore_signals, states_of
from trainables.models.stream_sample import stream_squares
from trainables.models.student import every_layer, held_by
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus, blocks_visited
from trainables.training.mixing import Mix, both_valid, partner
from trainables.training.readings import Reading, read_batch
from trainables.training.settings import TrainingSpec
from trainables.training.targets import Targets

WIDE = 256
"""Width from which a student's steps are faster in bf16 on a CPU that multiplies it."""


class Distillation(nn.Module):
    """Student and learned projections under the loss of a method; what DistributedDataParallel wraps."""

    def __init__(
        self, student: PreTrainedModel, teacher: Teacher, corpus: Corpus, config: dict, training: TrainingSpec
    ):
        super().__init__()
        self.student = student
        facts, source = teacher.facts, teacher.source
        shape = architecture_of(config)
        held = held_by(config["initialisation"], shape, source, corpus)
        own = source.facts.as_family(shape.family).family
        attention = facts.family.attention_facts(facts.architecture), own.attention_facts(shape)
        skipped = source.facts.embedding.skipped
        pairing = Pairing(config, shape, facts.architecture, facts.embedding, *attention, held, skipped)
        self.first_embedder = embedder_of(student)
        self.terms = losses_of(pairing)
        self.student_signals, self.teacher_signals = signals_of(self.terms)
        reads_states = any(signal is HIDDEN for signal, _ in self.teacher_signals)
        self.squares = stream_squares(teacher, corpus) if reads_states else {}
        self.masked_inputs = any(METHODS[name].masked_inputs for name, _ in parse_method(config["method"]))
        device = next(student.parameters()).device
        self.student_bf16 = use_bf16(training.precision, device, student.config.hidden_size)
        self.teacher_bf16 = use_bf16(training.teacher_precision, device)
        self.teacher_s = 0.0
        """What its forward passes took; on a GPU they end later than they return, and nothing is said."""
        self.projections = nn.ParameterDict()
        described = (0, *held) if held else every_layer(teacher)
        for loss, _ in self.terms:
            for key, projection in loss.projections.items():
                if key in self.projections:
                    raise StillhouseError(f"two methods of {config['method']!r} name a projection {key!r}; rename one")
                self.projections[key] = first_projection(projection, source, corpus, described)

    @property
    def needs_teacher(self) -> bool:
        """Whether any of its losses reads the teacher."""
        return bool(self.teacher_signals)

    def hand_over(self) -> None:
        """The student embeds as it does when it is used: by its own pooling, through a projection that is kept."""
        embedder = self.first_embedder
        for loss, _ in self.terms:
            if loss.pooling is not None:
                embedder = replace(embedder, pooling=loss.pooling)
            for key, projection in loss.projections.items():
                if projection.kept:
                    embedder = embedder.onto(self.projections[key].T)
            if loss.size is not None:
                embedder = replace(embedder, dims=loss.size)
        set_embedder(self.student, embedder)

    def take_back(self) -> None:
        """The student embeds as its losses read it, on the way to their projections."""
        set_embedder(self.student, self.first_embedder)

    def read(
        self, corpus: Corpus, split: str, blocks: np.ndarray, views: np.ndarray, training: TrainingSpec,
        targets: Targets | None,
    ) -> Reading:  # fmt: skip
        """A batch as the method reads it, with the teacher's states when there are targets to take them from."""
        seen = views if self.masked_inputs else None
        reading = read_batch(corpus, split, blocks, seen, training.mask_fraction)
        if targets is None:
            others = corpus.teachers
            told = None if others is None else read_batch(others, split, blocks, seen, training.mask_fraction)
            return replace(reading, teachers=told)
        return replace(reading, states=targets.read(split, states_of(self.teacher_signals), blocks, seen, reading))

    def forward(self, teacher: PreTrainedModel, reading: Reading, mix: Mix | None = None) -> Tensor:
        """The weighted sum of the method's losses over one batch; mix: how both models read it mixed."""
        kind, inputs_BT, positions_BT = reading.inputs_BT.device.type, reading.inputs_BT, reading.positions_BT
        mask_BT = reading.mask_BT if mix is None else both_valid(reading.mask_BT)
        theirs: Signals = {}
        if self.needs_teacher:
            started = time.perf_counter()
            with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=self.teacher_bf16):
                if reading.states is None:
                    told = reading.teachers or reading
                    seen = told.inputs_BT, told.mask_BT if mix is None else mask_BT, told.positions_BT
                    theirs = read_signals(teacher, self.teacher_signals, *seen, mix)
                else:
                    theirs = restore_signals(teacher, self.teacher_signals, reading.states)
            self.teacher_s += time.perf_counter() - started
        with torch.autocast(kind, torch.bfloat16, enabled=self.student_bf16):
            ours = read_signals(self.student, self.student_signals, inputs_BT, mask_BT, positions_BT, mix)
        labels_N = None if positions_BT is None else reading.words_BT[positions_BT]
        batch = Batch(mask_BT, labels_N, self.squares)
        value = torch.stack([weight * self.value(loss, ours, theirs, batch) for loss, weight in self.terms]).sum()
        return value if mix is None else value + mix.weight * self.consistency(ours, reading, mix)

    def consistency(self, ours: Signals, reading: Reading, mix: Mix) -> Tensor:
        """How far the student's signals of mixed texts are from those of each of the two, which get no gradient.

        By the method's own losses, with the student in the teacher's place (Ko et al. 2023, arXiv:2302.01530).
        """
        inputs_BT, mask_BT = reading.inputs_BT, reading.mask_BT
        with torch.no_grad(), torch.autocast(inputs_BT.device.type, torch.bfloat16, enabled=self.student_bf16):
            alone = read_signals(self.student, self.student_signals, inputs_BT, mask_BT)
        values = []
        for loss, weight in self.terms:
            own = {theirs: alone[asked] for asked, theirs in zip(loss.student, loss.teacher, strict=True)}
            others = {asked: partner(signal) for asked, signal in own.items()}
            other_mask_BT = None if mask_BT is None else partner(mask_BT)
            near = self.value(loss, ours, own, Batch(mask_BT))
            far = self.value(loss, ours, others, Batch(other_mask_BT))
            values.append(weight * (mix.share * near + (1 - mix.share) * far))
        return torch.stack(values).sum()

    def value(self, loss: Loss, ours: Signals, theirs: Signals, batch: Batch) -> Tensor:
        """One of the losses, shown the signals and the projections that it declares."""
        return loss.value(
            {signal: ours[signal] for signal in loss.student},
            {signal: theirs[signal] for signal in loss.teacher},
            {key: self.projections[key] for key in loss.projections},
            batch,
        )


def losses_of(pairing: Pairing) -> list[tuple[Loss, float]]:
    """The losses of a trial's method and their weights."""
    return [(METHODS[name].loss(pairing), weight) for name, weight in parse_method(pairing.config["method"])]


def signals_of(terms: Sequence[tuple[Loss, float]]) -> tuple[tuple[LayerSignal, ...], tuple[LayerSignal, ...]]:
    """Everything that any of the losses reads, each once: (of the student, of the teacher)."""
    ours = dict.fromkeys(signal for loss, _ in terms for signal in loss.student)
    theirs = dict.fromkeys(signal for loss, _ in terms for signal in loss.teacher)
    return tuple(ours), tuple(theirs)


def teacher_states(pairing: Pairing) -> tuple[State, ...]:
    """The states of the teacher that a trial's signals are restored from."""
    return states_of(signals_of(losses_of(pairing))[1])


def first_projection(projection: Projection, teacher: Teacher, corpus: Corpus, held: tuple[int, ...]) -> nn.Parameter:
    """Maps of states start in the basis in which students are projected; all others, and all of equal width, start
    orthonormal."""
    narrow, wide = projection.student_width, projection.teacher_width
    if projection.of_states and narrow < wide:
        basis_Dd = stream_directions(teacher, corpus, held)[:, :narrow]
        return nn.Parameter(basis_Dd.T.clone(memory_format=torch.contiguous_format))  # each pair its own memory
    return nn.Parameter(torch.eye(wide) if narrow == wide else nn.init.orthogonal_(torch.empty(narrow, wide)))


def usable(
    targets: Targets | None, module: Distillation, corpus: Corpus, training: TrainingSpec, train_blocks: int, seed: int
) -> Targets | None:
    """The target cache if it holds everything that this trial asks of the teacher."""
    if targets is None or not module.needs_teacher or training.mixup:  # no two mixes are the same
        return None
    blocks = blocks_visited(corpus, train_blocks, seed)
    views = min(training.mask_views, math.ceil(train_blocks / len(corpus.train)))
    fits = targets.serves(
        states_of(module.teacher_signals), module.masked_inputs, blocks, views, training.mask_fraction
    )
    return targets if fits and targets.bf16 == module.teacher_bf16 else None


def use_bf16(precision: str, device: torch.device, student_width: int | None = None) -> bool:
    """Whether a model runs under bf16 autocast. Narrow students lose by it on a CPU (tests/bench/step_options.py)."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if student_width is not None and student_width < WIDE:
        return False
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
