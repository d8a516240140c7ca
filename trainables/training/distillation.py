"""Student, learned projections and the losses of a method as one module; how it reads its batches and the teacher.

Shapes: B batch, T tokens, D teacher width, d student width.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from spaces.errors import StillhouseError
from spaces.students.architecture import architecture_of
from spaces.students.stages import stages_of, terms_of
from spaces.students.transfer import METHODS, Pairing, parse_method
from trainables.losses.loss import Batch, Loss, Projection
from trainables.machine import use_bf16
from trainables.models.classes import class_places
from trainables.models.embedding import embedder_of, set_embedder
from trainables.models.encoder import classes_of
from trainables.models.projection import stream_directions
from trainables.models.signals import HIDDEN, LayerSignal, Signals, State, read_signals, restore_signals, states_of
from trainables.models.stream_sample import stream_squares
from trainables.models.student import every_layer, held_by
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus, blocks_visited
from trainables.training.mixing import Mix, both_valid, partner
from trainables.training.readings import Reading, read_batch
from trainables.training.settings import TrainingSpec, Worker
from trainables.training.targets import Targets


@dataclass(frozen=True)
class StageLosses:
    """What one stage of a method compares, and how it reads texts."""

    terms: tuple[tuple[Loss, float], ...]
    """Losses and their weights."""
    student_signals: tuple[LayerSignal, ...]
    teacher_signals: tuple[LayerSignal, ...]
    masked_inputs: bool


class Distillation(nn.Module):
    """Student and learned projections under the losses of a method; what DistributedDataParallel wraps.

    Projections of one name go on from stage to stage.
    """

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
        known = facts.architecture, facts.embedding, *attention, held, skipped, facts.scored_state
        pairing = Pairing(config, shape, *known)
        self.first_embedder = embedder_of(student)
        self.stages = tuple(stage_losses(pairing, stage.method) for stage in stages_of(config["method"]))
        self.stage = 0
        """Which of them is under way."""
        reads_states = any(signal is HIDDEN for stage in self.stages for signal, _ in stage.teacher_signals)
        self.squares = stream_squares(teacher, corpus) if reads_states else {}
        device = next(student.parameters()).device
        self.student_bf16 = use_bf16(training.precision, device, student.config.hidden_size)
        self.teacher_bf16 = use_bf16(training.teacher_precision, device, facts.architecture.hidden_size)
        self.teacher_s = 0.0
        """What its forward passes took; on a GPU they end later than they return, and nothing is said."""
        learns_labels = any(term.labelled for term in terms_of(config["method"]))
        names = corpus.facts.classes if learns_labels else ()
        self.outputs = class_places("[corpus]", classes_of(student), names)
        """The output of the student's head for each class of the corpus, where it learns labels."""
        self.projections = nn.ParameterDict()
        described = (0, *held) if held else every_layer(teacher)
        for key, projection in projections_of(self.stages, config["method"]).items():
            self.projections[key] = first_projection(projection, source, corpus, described)

    @property
    def terms(self) -> tuple[tuple[Loss, float], ...]:
        """The losses of the stage under way, and their weights."""
        return self.stages[self.stage].terms

    @property
    def teacher_signals(self) -> tuple[LayerSignal, ...]:
        """What the stage under way reads of the teacher; nothing: it learns without one."""
        return self.stages[self.stage].teacher_signals

    def hand_over(self) -> None:
        """The student embeds as it does when it is used: by its own pooling, through a projection that is kept.

        What a stage leaves open is as the stages before it have left it.
        """
        losses = [loss for stage in self.stages[: self.stage + 1] for loss, _ in stage.terms]
        kept = dict.fromkeys(key for loss in losses for key, each in loss.projections.items() if each.kept)
        poolings = [loss.pooling for loss in losses if loss.pooling is not None]
        sizes = [loss.size for loss in losses if loss.size is not None]
        embedder = self.first_embedder
        if poolings:
            embedder = replace(embedder, pooling=poolings[-1])
        for key in kept:
            embedder = embedder.onto(self.projections[key].T)
        if sizes:
            embedder = replace(embedder, dims=sizes[-1])
        set_embedder(self.student, embedder)

    def take_back(self) -> None:
        """The student embeds as its losses read it, on the way to their projections."""
        set_embedder(self.student, self.first_embedder)

    def read(
        self, corpus: Corpus, split: str, blocks: np.ndarray, views: np.ndarray, training: TrainingSpec,
        targets: Targets | None, stage: int = 0,
    ) -> Reading:  # fmt: skip
        """A batch as a stage reads it, with the teacher's states when there are targets to take them from.

        Batches are read ahead, so that this may be another stage than the one under way.
        """
        losses = self.stages[stage]
        seen = views if losses.masked_inputs else None
        reading = read_batch(corpus, split, blocks, seen, training.mask_fraction)
        if targets is None:
            others = corpus.teachers
            told = None if others is None else read_batch(others, split, blocks, seen, training.mask_fraction)
            return replace(reading, teachers=told)
        return replace(reading, states=targets.read(split, states_of(losses.teacher_signals), blocks, seen, reading))

    def forward(
        self, teacher: PreTrainedModel, reading: Reading, mix: Mix | None = None, *, is_swapped: bool = False
    ) -> Tensor:
        """The weighted sum of the losses of the stage under way over one batch; mix: how both models read it mixed.

        is_swapped: the student reads the reversed batch, so that what it says is of other texts than it is asked for.
        """
        asked = self.stages[self.stage]
        kind, inputs_BT, positions_BT = reading.inputs_BT.device.type, reading.inputs_BT, reading.positions_BT
        mask_BT = reading.mask_BT if mix is None else both_valid(reading.mask_BT)
        theirs: Signals = {}
        if asked.teacher_signals:
            started = time.perf_counter()
            with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=self.teacher_bf16):
                if reading.states is None:
                    told = reading.teachers or reading
                    seen = told.inputs_BT, told.mask_BT if mix is None else mask_BT, told.positions_BT
                    theirs = read_signals(teacher, asked.teacher_signals, *seen, mix)
                else:
                    theirs = restore_signals(teacher, asked.teacher_signals, reading.states)
            self.teacher_s += time.perf_counter() - started
        own_mask_BT, own_positions_BT = mask_BT, positions_BT
        if is_swapped:
            inputs_BT = inputs_BT.flip(0)
            own_positions_BT = None if positions_BT is None else positions_BT.flip(0)
            own_mask_BT = None if mask_BT is None else mask_BT.flip(0)
            mask_BT = None if mask_BT is None else mask_BT * mask_BT.flip(0)
        with torch.autocast(kind, torch.bfloat16, enabled=self.student_bf16):
            ours = read_signals(self.student, asked.student_signals, inputs_BT, own_mask_BT, own_positions_BT, mix)
        labels_N = None if positions_BT is None else reading.words_BT[positions_BT]
        classes_B = None if reading.classes_B is None or not self.outputs else self.outputs_of(reading.classes_B)
        batch = Batch(mask_BT, labels_N, self.squares, classes_B)
        value = torch.stack([weight * self.value(loss, ours, theirs, batch) for loss, weight in asked.terms]).sum()
        return value if mix is None else value + mix.weight * self.consistency(ours, reading, mix)

    def outputs_of(self, classes_B: Tensor) -> Tensor:
        """Classes as the corpus numbers them, as the student's head does."""
        return torch.tensor(self.outputs, device=classes_B.device)[classes_B]

    def consistency(self, ours: Signals, reading: Reading, mix: Mix) -> Tensor:
        """How far the student's signals of mixed texts are from those of each of the two, which get no gradient.

        By the method's own losses, with the student in the teacher's place (Ko et al. 2023, arXiv:2302.01530).
        """
        inputs_BT, mask_BT = reading.inputs_BT, reading.mask_BT
        with torch.no_grad(), torch.autocast(inputs_BT.device.type, torch.bfloat16, enabled=self.student_bf16):
            alone = read_signals(self.student, self.stages[self.stage].student_signals, inputs_BT, mask_BT)
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


@torch.no_grad()
def loss_of_swapped(module: Distillation, teacher: PreTrainedModel, parts: list[Reading], worker: Worker) -> float:
    """The mean loss of a batch against what is right for other texts, over all workers; it draws nothing at random."""
    device = parts[0].inputs_BT.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        loss = torch.stack([module(teacher, part, is_swapped=True) for part in parts]).mean()
    if worker.world_size > 1:
        dist.all_reduce(loss)
    return loss.item() / worker.world_size


def stage_losses(pairing: Pairing, method: str) -> StageLosses:
    """What a stage compares under a method, a sum."""
    terms = losses_of(replace(pairing, config={**pairing.config, "method": method}))
    return StageLosses(tuple(terms), *signals_of(terms), any(term.masked_inputs for term in terms_of(method)))


def projections_of(stages: Sequence[StageLosses], method: str) -> dict[str, Projection]:
    """The learned projections of all stages by name. Raises StillhouseError where one name stands for two."""
    found: dict[str, Projection] = {}
    for stage in stages:
        named = [key for loss, _ in stage.terms for key in loss.projections]
        own = {key: projection for loss, _ in stage.terms for key, projection in loss.projections.items()}
        for key, projection in own.items():
            if named.count(key) > 1 or found.setdefault(key, projection) != projection:
                raise StillhouseError(f"two methods of {method!r} name a projection {key!r}; rename one")
    return found


def losses_of(pairing: Pairing) -> list[tuple[Loss, float]]:
    """The losses of a method without stages, and their weights."""
    return [(METHODS[name].loss(pairing), weight) for name, weight in parse_method(pairing.config["method"])]


def signals_of(terms: Sequence[tuple[Loss, float]]) -> tuple[tuple[LayerSignal, ...], tuple[LayerSignal, ...]]:
    """Everything that any of the losses reads, each once: (of the student, of the teacher)."""
    ours = dict.fromkeys(signal for loss, _ in terms for signal in loss.student)
    theirs = dict.fromkeys(signal for loss, _ in terms for signal in loss.teacher)
    return tuple(ours), tuple(theirs)


def teacher_states(pairing: Pairing) -> tuple[State, ...]:
    """The states of the teacher that the signals of a method without stages are restored from."""
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
    targets: Targets | None, module: Distillation, corpus: Corpus, training: TrainingSpec, train_blocks: int, seed: int,
    stage: int = 0,
) -> Targets | None:  # fmt: skip
    """The target cache if it holds everything that a stage asks of the teacher about so many blocks of its corpus."""
    asked = module.stages[stage]
    if targets is None or not asked.teacher_signals or training.mixup:  # no two mixes are the same
        return None
    blocks = blocks_visited(corpus, train_blocks, seed)
    views = min(training.mask_views, math.ceil(train_blocks / len(corpus.train)))
    fits = targets.serves(states_of(asked.teacher_signals), asked.masked_inputs, blocks, views, training.mask_fraction)
    return targets if fits and targets.bf16 == module.teacher_bf16 else None


def where_from(module: Distillation, kept: Sequence[Targets | None]) -> str:
    """What the teacher said comes from: the cache, the live teacher where any stage has to ask it, or there is none."""
    learning = [targets for stage, targets in zip(module.stages, kept, strict=True) if stage.teacher_signals]
    return "none" if not learning else "live" if None in learning else "cache"
