"""Student, learned projections and the loss of a method as one module; how it reads its batches and the teacher.

Shapes: B batch, T tokens, D teacher width, d student width.
"""

import math
import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from spaces.students.architecture import architecture_of
from spaces.students.transfer import parse_method, terms_of
from trainables.losses.objectives import OBJECTIVES, Batch, Pairing, joined
from trainables.models.student import stream_directions
from trainables.models.teacher import Signals, Teacher, read_signals, signals_of
from trainables.text.corpus import Corpus, blocks_visited
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
        self.pairing = Pairing(config, architecture_of(config), teacher.facts.architecture)
        self.terms = parse_method(config["method"])
        wants = [OBJECTIVES[name].wants(self.pairing) for name, _ in self.terms]
        self.student_wanted, self.teacher_wanted = joined([w[0] for w in wants]), joined([w[1] for w in wants])
        self.needs_teacher = self.teacher_wanted != joined([])
        self.masked_inputs = any(term.masked_inputs for term in terms_of(config["method"]))
        device = next(student.parameters()).device
        self.student_bf16 = use_bf16(training.precision, device, student.config.hidden_size)
        self.teacher_bf16 = use_bf16(training.teacher_precision, device)
        self.teacher_s = 0.0
        """What its forward passes took; on a GPU they end later than they return, and nothing is said."""
        self.projections = nn.ParameterDict()
        for name, _ in self.terms:
            for key, (narrow, wide) in OBJECTIVES[name].projections(self.pairing).items():
                self.projections[key] = first_projection(key, narrow, wide, teacher, corpus)

    def read(
        self, corpus: Corpus, split: str, blocks: np.ndarray, views: np.ndarray, training: TrainingSpec,
        targets: Targets | None,
    ) -> Reading:  # fmt: skip
        """A batch as the method reads it, with the teacher's states when there are targets to take them from."""
        seen = views if self.masked_inputs else None
        reading = read_batch(corpus, split, blocks, seen, training.mask_fraction)
        if targets is None:
            return reading
        return replace(reading, states=targets.read(split, self.teacher_wanted, blocks, seen, reading))

    def forward(self, teacher: PreTrainedModel, reading: Reading) -> Tensor:
        """The weighted sum of the method's losses over one batch without padding."""
        kind, inputs_BT, positions_BT = reading.inputs_BT.device.type, reading.inputs_BT, reading.positions_BT
        read = Signals(hidden={})
        if self.needs_teacher:
            started = time.perf_counter()
            with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=self.teacher_bf16):
                if reading.states is None:
                    read = read_signals(teacher, self.teacher_wanted, inputs_BT, None, positions_BT)
                else:
                    read = signals_of(teacher, self.teacher_wanted, reading.states)
            self.teacher_s += time.perf_counter() - started
        with torch.autocast(kind, torch.bfloat16, enabled=self.student_bf16):
            ours = read_signals(self.student, self.student_wanted, inputs_BT, None, positions_BT)
        batch = Batch(labels_N=None if positions_BT is None else reading.words_BT[positions_BT])
        maps = dict(self.projections.items())
        losses = [w * OBJECTIVES[name].loss(ours, read, maps, batch, self.pairing) for name, w in self.terms]
        return torch.stack(losses).sum()


def first_projection(key: str, narrow: int, wide: int, teacher: Teacher, corpus: Corpus) -> nn.Parameter:
    """Hidden states start in the basis in which students are projected; everything else starts orthonormal."""
    if key.startswith("hidden") and narrow < wide:
        basis_Dd = stream_directions(teacher, corpus)[:, :narrow]
        return nn.Parameter(basis_Dd.T.clone(memory_format=torch.contiguous_format))  # each pair its own memory
    return nn.Parameter(torch.eye(wide) if narrow == wide else nn.init.orthogonal_(torch.empty(narrow, wide)))


def usable(
    targets: Targets | None, module: Distillation, corpus: Corpus, training: TrainingSpec, train_blocks: int, seed: int
) -> Targets | None:
    """The target cache if it holds everything that this trial asks of the teacher."""
    if targets is None or not module.needs_teacher:
        return None
    blocks = blocks_visited(len(corpus.train), train_blocks, seed)
    views = min(training.mask_views, math.ceil(train_blocks / len(corpus.train)))
    fits = targets.serves(module.teacher_wanted, module.masked_inputs, blocks, views, training.mask_fraction)
    return targets if fits and targets.plan.bf16 == module.teacher_bf16 else None


def use_bf16(precision: str, device: torch.device, student_width: int | None = None) -> bool:
    """Whether a model runs under bf16 autocast. Narrow students lose by it on a CPU (tests/bench/step_options.py)."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if student_width is not None and student_width < WIDE:
        return False
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
