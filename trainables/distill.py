"""The only training loop: a student, a teacher, blocks of tokens, and a budget in tokens.

Everything random is a function of (seed, step), so a loop that goes on from a checkpoint sees what an undisturbed one
would have seen; on a CPU the two end in the same bits. With several workers each takes its rows of the same global
batch and gradients are averaged, so the number of workers does not change the mathematics.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from spaces.architecture import architecture_of
from spaces.errors import TrialFailed
from spaces.transfer import parse_method, terms_of
from trainables.checkpoint import Progress, resume, save_checkpoint
from trainables.corpus import Corpus, batch_indices, mask_tokens
from trainables.encoder import lm_logits
from trainables.objectives import OBJECTIVES, Batch, Pairing, joined
from trainables.student import stream_directions
from trainables.teacher import Signals, Teacher, read_signals

Report = Callable[[dict], None]
Score = Callable[[PreTrainedModel], dict]
REPORTS_PER_TRIAL = 20
HELD_OUT_BLOCKS = 64
HELD_OUT_CHUNK = 16  # not the trial's batch size, so that all trials of a study see the same masks
DIVERGED_FACTOR = 4.0


@dataclass(frozen=True)
class TrainingSpec:
    """How every trial of a study is trained; what differs between trials is in their configurations."""

    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    gradient_clip: float = 1.0
    mask_fraction: float = 0.15
    gradient_accumulation: int = 1
    precision: str = "auto"
    """Of the student: fp32 | bf16 (autocast) | auto: bf16 on a GPU, fp32 on a CPU."""
    teacher_precision: str = "auto"
    """auto: bf16 wherever the hardware multiplies bf16 itself."""
    checkpoint_every_s: float = 60.0


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
        self.student_bf16 = use_bf16(training.precision, device, student=True)
        self.teacher_bf16 = use_bf16(training.teacher_precision, device, student=False)
        self.projections = nn.ParameterDict()
        for name, _ in self.terms:
            for key, (narrow, wide) in OBJECTIVES[name].projections(self.pairing).items():
                self.projections[key] = first_projection(key, narrow, wide, teacher, corpus)

    def forward(self, teacher: PreTrainedModel, reading: "Reading") -> Tensor:
        """The weighted sum of the method's losses over one batch without padding."""
        kind, inputs_BT, positions_BT = reading.inputs_BT.device.type, reading.inputs_BT, reading.positions_BT
        read = Signals(hidden={})
        if self.needs_teacher:
            with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=self.teacher_bf16):
                read = read_signals(teacher, self.teacher_wanted, inputs_BT, None, positions_BT)
        with torch.autocast(kind, torch.bfloat16, enabled=self.student_bf16):
            ours = read_signals(self.student, self.student_wanted, inputs_BT, None, positions_BT)
        batch = Batch(labels_N=None if positions_BT is None else reading.words_BT[positions_BT])
        maps = dict(self.projections.items())
        losses = [w * OBJECTIVES[name].loss(ours, read, maps, batch, self.pairing) for name, w in self.terms]
        return torch.stack(losses).sum()


@dataclass(frozen=True)
class Reading:
    """A batch as both models read it: the inputs, the masked positions (None: nothing is masked), the words before."""

    inputs_BT: Tensor
    positions_BT: Tensor | None
    words_BT: Tensor

    def rows(self, start: int, stop: int, device: torch.device) -> "Reading":
        """Some rows, on a device."""
        tensors = (self.inputs_BT, self.positions_BT, self.words_BT)
        return Reading(*(None if x is None else x[start:stop].to(device) for x in tensors))  # type: ignore[arg-type]


class Meter:
    """Sums of loss and gradient norm since the last report; on the device, so that no step waits for them."""

    def __init__(self, device: torch.device, world_size: int):
        self.sums, self.world_size = torch.zeros(2, device=device), world_size
        self.steps, self.since = 0, time.perf_counter()

    def add(self, loss: Tensor, gradient_norm: Tensor) -> None:
        """Count one step."""
        self.sums += torch.stack([loss, gradient_norm])
        self.steps += 1

    def read(self) -> tuple[float, float, float]:
        """(mean loss over all workers, mean gradient norm, steps per second) since the last call."""
        if self.world_size > 1:
            dist.all_reduce(self.sums)
            self.sums /= self.world_size
        loss, norm = (self.sums / self.steps).tolist()
        now = time.perf_counter()
        rate = self.steps / (now - self.since)
        self.sums.zero_()
        self.steps, self.since = 0, now
        return loss, norm, rate


def first_projection(key: str, narrow: int, wide: int, teacher: Teacher, corpus: Corpus) -> nn.Parameter:
    """Hidden states start in the basis in which students are projected; everything else starts orthonormal."""
    if key.startswith("hidden") and narrow < wide:
        basis_Dd = stream_directions(teacher, corpus)[:, :narrow]
        return nn.Parameter(basis_Dd.T.clone(memory_format=torch.contiguous_format))  # each pair its own memory
    return nn.Parameter(torch.eye(wide) if narrow == wide else nn.init.orthogonal_(torch.empty(narrow, wide)))


def distil(
    student: PreTrainedModel,
    teacher: Teacher,
    corpus: Corpus,
    config: dict,
    training: TrainingSpec,
    train_tokens: int,
    seed: int,
    report: Report,
    checkpoint: Path | None = None,
    rank: int = 0,
    world_size: int = 1,
    rungs: Sequence[int] = (),
    score: Score | None = None,
) -> dict:
    """Train `student` in place until `train_tokens` are seen; returns losses, tokens, steps and seconds.

    Reports carry step, train_tokens, loss (mean since the last report), learning_rate, gradient_norm, tokens_per_s and
    elapsed_s, and every rank makes the same number of them. At each of the token counts in `rungs` there is one more,
    to which rank 0 adds what `score` says of the student; a checkpoint follows it, and its seconds are not training.
    Raises TrialFailed when the loss is not finite or diverges.
    """
    device, batch_size = next(student.parameters()).device, config["batch_size"]
    tokens_per_step = batch_size * corpus.train.shape[1]
    total_steps = max(1, math.ceil(train_tokens / tokens_per_step))
    every = max(1, total_steps // REPORTS_PER_TRIAL)
    rung_steps = {math.ceil(tokens / tokens_per_step) for tokens in rungs} - {total_steps}
    shares = shards(batch_size, rank, world_size, training.gradient_accumulation)
    torch.manual_seed(seed)
    module = Distillation(student, teacher, corpus, config, training).to(device)
    optimizer = build_optimizer(module, config["learning_rate"], training)
    progress = resume(checkpoint, module, optimizer, rank, world_size)
    wrapped = DistributedDataParallel(module, find_unused_parameters=True) if world_size > 1 else module
    meter, started_s, saved_s = Meter(device, world_size), time.perf_counter() - progress.elapsed_s, time.perf_counter()
    for step in range(progress.step + 1, total_steps + 1):
        rate = config["learning_rate"] * schedule(step - 1, total_steps, training.warmup_fraction)
        for group in optimizer.param_groups:
            group["lr"] = rate
        blocks = corpus.train[batch_indices(len(corpus.train), batch_size, step - 1, seed)]
        reading = read_batch(blocks, corpus, module.masked_inputs, training.mask_fraction, [seed, step - 1])
        loss = accumulate_gradients(wrapped, teacher.model, [reading.rows(*share, device) for share in shares])
        norm = nn.utils.clip_grad_norm_(module.parameters(), training.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.add(loss, norm)
        if step % every and step < total_steps and step not in rung_steps:
            continue
        mean_loss, mean_norm, steps_per_s = meter.read()
        now = time.perf_counter()
        progress = advanced(progress, step, now - started_s, mean_loss, config["learning_rate"])
        row = {
            "step": step, "train_tokens": step * tokens_per_step, "loss": mean_loss, "learning_rate": rate,
            "gradient_norm": mean_norm, "tokens_per_s": steps_per_s * tokens_per_step, "elapsed_s": progress.elapsed_s,
        }  # fmt: skip
        if step in rung_steps and rank == 0 and score is not None:
            row |= score(student)
            meter.since = time.perf_counter()
            started_s += meter.since - now
        report(row)
        due = step in rung_steps or now - saved_s > training.checkpoint_every_s
        if checkpoint is not None and rank == 0 and due:
            save_checkpoint(checkpoint, module, optimizer, progress)
            saved_s = now
    return {
        "loss_first": progress.first, "loss_last": progress.last, "steps": total_steps,
        "train_tokens": total_steps * tokens_per_step, "train_s": time.perf_counter() - started_s,
        "held_out_loss": held_out_loss(module, teacher, corpus, training, device),
    }  # fmt: skip


def accumulate_gradients(wrapped: nn.Module, teacher: PreTrainedModel, parts: list[Reading]) -> Tensor:
    """The mean loss over equal parts of a batch, and its gradients; workers exchange them with the last part only."""
    losses = []
    for number, part in enumerate(parts, start=1):
        alone = isinstance(wrapped, DistributedDataParallel) and number < len(parts)
        with wrapped.no_sync() if alone else contextlib.nullcontext():  # type: ignore[operator]
            loss = wrapped(teacher, part) / len(parts)
            loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def advanced(progress: Progress, step: int, elapsed_s: float, loss: float, learning_rate: float) -> Progress:
    """The progress after a report. Raises TrialFailed when training has left the road."""
    if not math.isfinite(loss):
        raise TrialFailed(f"the loss became {loss} by step {step} (learning_rate {learning_rate:g})")
    if loss > DIVERGED_FACTOR * progress.lowest and loss > progress.first:
        raise TrialFailed(
            f"diverged: loss {loss:.4g} at step {step} after a low of {progress.lowest:.4g} "
            f"(learning_rate {learning_rate:g})"
        )
    first = loss if math.isnan(progress.first) else progress.first
    return Progress(step, elapsed_s, first, min(progress.lowest, loss), loss)


def use_bf16(precision: str, device: torch.device, *, student: bool) -> bool:
    """Whether a model runs under bf16 autocast. Small students gain nothing from it on a CPU, teachers do."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return not student and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def build_optimizer(module: nn.Module, learning_rate: float, training: TrainingSpec) -> torch.optim.AdamW:
    """AdamW without decay of biases and LayerNorm weights, in a fixed order of parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, eps=1e-6, fused=True)


def schedule(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up to 1 and linear decay to 0; the factor of the step counted from 0."""
    warmup = max(1, round(warmup_fraction * total_steps))
    return min((step + 1) / warmup, (total_steps - step) / max(1, total_steps - warmup))


def shards(batch_size: int, rank: int, world_size: int, accumulation: int) -> list[tuple[int, int]]:
    """(start, stop) rows of the global batch for each micro-batch of one worker."""
    size, left = divmod(batch_size, world_size * accumulation)
    if left or not size:
        raise TrialFailed(
            f"batch_size {batch_size} cannot be split evenly over {world_size} workers x "
            f"{accumulation} accumulation steps"
        )
    starts = [(micro * world_size + rank) * size for micro in range(accumulation)]
    return [(start, start + size) for start in starts]


def read_batch(blocks: np.ndarray, corpus: Corpus, masked: bool, fraction: float, key: list[int]) -> Reading:
    """A whole global batch, masked under a generator made from `key`."""
    ids_BT = torch.from_numpy(blocks.astype(np.int64))
    if not masked:
        return Reading(ids_BT, None, ids_BT)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    return Reading(*mask_tokens(ids_BT, corpus, fraction, generator), ids_BT)


@torch.no_grad()
def held_out_loss(
    module: Distillation, teacher: Teacher, corpus: Corpus, training: TrainingSpec, device: torch.device
) -> float:
    """The same loss on held-out blocks, under masks that are the same for every trial."""
    total = 0.0
    kept = corpus.held_out[:HELD_OUT_BLOCKS]
    for start in range(0, len(kept), HELD_OUT_CHUNK):
        blocks = kept[start : start + HELD_OUT_CHUNK]
        reading = read_batch(blocks, corpus, module.masked_inputs, training.mask_fraction, [start])
        total += module(teacher.model, reading.rows(0, len(blocks), device)).item() * len(blocks)
    return total / len(kept)


@torch.no_grad()
def masked_accuracy(model: PreTrainedModel, corpus: Corpus, max_blocks: int = 512, fraction: float = 0.15) -> float:
    """Share of masked held-out tokens that the model's head predicts exactly."""
    right = total = 0
    for start in range(0, min(len(corpus.held_out), max_blocks), 16):
        blocks = corpus.held_out[start : start + 16]
        reading = read_batch(blocks, corpus, True, fraction, [7, start]).rows(0, len(blocks), model.device)
        assert reading.positions_BT is not None
        states = model.base_model(input_ids=reading.inputs_BT).last_hidden_state
        labels = reading.words_BT[reading.positions_BT]
        right += int((lm_logits(model, states[reading.positions_BT]).argmax(-1) == labels).sum())
        total += len(labels)
    return right / total
