"""The only training loop: a student, a teacher, blocks of tokens, and a budget in tokens.

Everything random is a function of (seed, step), so a loop that goes on from a checkpoint sees what an undisturbed one
would have seen; on a CPU the two end in the same bits. With several workers each takes its rows of the same global
batch and gradients are averaged, so the number of workers does not change the mathematics.
"""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from spaces.errors import TrialFailed
from trainables.models.teacher import Teacher
from trainables.tasks.scores import Scores
from trainables.text.corpus import Corpus, batch_indices
from trainables.training.checkpoint import (
    CheckpointFile,
    Passed,
    Progress,
    Unsaid,
    Weights,
    best_weights,
    copied_weights,
    read_checkpoint,
    resume,
    save_checkpoint,
    upload,
)
from trainables.training.distillation import Distillation, loss_of_swapped, usable, where_from
from trainables.training.mixing import Mix, check_pairs, mix_of, paired
from trainables.training.readings import Reading, ahead
from trainables.training.reports import Trained, TrialReport
from trainables.training.settings import ALONE, TrainingRun, TrainingSpec, Worker
from trainables.training.stages import layers_of, open_layers, stage_at, stages_of_run, step_after
from trainables.training.targets import Targets

Report = Callable[[TrialReport], None]
Score = Callable[[PreTrainedModel], Scores]
REPORTS_PER_TRIAL = 20
HELD_OUT_BLOCKS = 64
HELD_OUT_CHUNK = 16  # not the trial's batch size, so that all trials of a study see the same masks
DIVERGED_FACTOR = 4.0
LOOKS_PER_REPORT = 20
"""How often several workers ask one another whether any of them has to leave."""


class Leaving(Exception):
    """Raised between two steps when the workers are told to leave, after the checkpoint is written."""


class Meter:
    """Sums of loss and gradient norm since the last report; on the device, so that no step waits for them."""

    def __init__(self, device: torch.device, world_size: int, unsaid: Unsaid):
        self.sums = torch.tensor([unsaid.loss, unsaid.gradient_norm], device=device)
        self.steps, self.since = unsaid.steps, time.perf_counter() - unsaid.seconds
        self.world_size = world_size

    def add(self, loss: Tensor, gradient_norm: Tensor) -> None:
        """Count one step."""
        self.sums += torch.stack([loss, gradient_norm])
        self.steps += 1

    def read(self) -> tuple[float, float, float]:
        """(mean loss over all workers, mean gradient norm, steps per second) since the last call."""
        self._meet()
        loss, norm = (self.sums / self.steps).tolist()
        now = time.perf_counter()
        rate = self.steps / (now - self.since)
        self.sums.zero_()
        self.steps, self.since = 0, now
        return loss, norm, rate

    def unsaid(self) -> Unsaid:
        """What `read` has not given yet, for a run that goes on elsewhere."""
        self._meet()
        loss, norm = self.sums.tolist()
        return Unsaid(loss, norm, self.steps, time.perf_counter() - self.since)

    def _meet(self) -> None:
        if self.world_size > 1:
            dist.all_reduce(self.sums)
            self.sums /= self.world_size


def distil(
    student: PreTrainedModel,
    teacher: Teacher,
    corpus: Corpus,
    run: TrainingRun,
    report: Report,
    *,
    score: Score | None = None,
    targets: Targets | None = None,
    checkpoint: CheckpointFile | None = None,
    worker: Worker = ALONE,
    is_told: Callable[[], bool] = lambda: False,
    keeps_above: float = math.inf,
) -> Trained:
    """Train `student` in place until the tokens of `run` are seen.

    The teacher is read from `targets` where they hold all that the trial needs, and run live otherwise.
    keeps_above: the weights of the best rung stay in the checkpoint if its dev quality is above this (earlier.py).
    is_told: whether this worker has to leave, for its machine is about to go; then all workers of the run leave.

    Each stage of a method begins with fresh moments of Adam, has a learning rate that warms up and decays, and ends
    with a report. Every rank makes the same number of reports. At each of the rungs there is one more, to which rank 0
    adds what `score` says of the student, whose seconds are not training. A checkpoint is written before it, so that a
    trial that is stopped there can be promoted at once; who goes on makes its last report again.
    Raises TrialFailed when the loss is not finite or diverges; Leaving, with a checkpoint of the last step that was
    made, so that a run elsewhere goes on with the next one.
    """
    config, settings, seed = dict(run.config), run.settings, run.seed
    device, batch_size = next(student.parameters()).device, config["batch_size"]
    stages = stages_of_run(run, corpus)
    total_steps = stages[-1].last
    every = max(1, total_steps // REPORTS_PER_TRIAL)
    rung_steps = {step_after(stages, tokens) for tokens in run.rungs if tokens < run.train_tokens} - {total_steps}
    said_steps = rung_steps | {stage.last for stage in stages}
    shares = shards(batch_size, worker, settings.gradient_accumulation)
    if settings.mixup:
        check_pairs(batch_size, worker.world_size * settings.gradient_accumulation)
    torch.manual_seed(seed)
    module = Distillation(student, teacher, corpus, config, settings).to(device)
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(module, config["learning_rate"], settings)
    progress = resume(checkpoint, module, optimizer, run.digest, worker)
    best: Weights = {}
    if progress.best is not None and checkpoint is not None:
        best = best_weights(read_checkpoint(checkpoint.path, run.digest)[1])
    wrapped = DistributedDataParallel(module, find_unused_parameters=True) if worker.world_size > 1 else module
    kept = [
        None if each.stage.on_supplement
        else usable(targets, module, corpus, settings, (each.batch(each.last) + 1) * batch_size, seed, each.number)
        for each in stages
    ]  # fmt: skip
    if progress.report is not None:
        report(progress.report)

    def read(step: int) -> list[Reading]:
        stage = stage_at(stages, step)
        text, own = stage.corpus, stage.number
        blocks, epochs = batch_indices(text, batch_size, stage.batch(step), seed)
        if settings.mixup:
            blocks, epochs = blocks[paired(batch_size)], epochs[paired(batch_size)]
        views = epochs % settings.mask_views
        readings = (module.read(text, "train", blocks[rows], views[rows], settings, kept[own], own) for rows in shares)
        return [reading.to(device) for reading in readings]  # here, so that no step waits for the copy

    def save(reached: Progress) -> None:
        if checkpoint is not None and worker.rank == 0:
            save_checkpoint(checkpoint.path, module, optimizer, reached, run.digest, best)
            if checkpoint.copy:
                upload(checkpoint.path, checkpoint.copy)

    def leave_if_told(made: int) -> None:
        if any_of(is_told(), worker.world_size, device):
            elapsed_s = time.perf_counter() - started_s
            save(replace(progress, step=made, elapsed_s=elapsed_s, report=None, unsaid=meter.unsaid()))
            raise Leaving(f"after step {made} of {total_steps}")

    look = 1 if worker.world_size == 1 else max(1, every // LOOKS_PER_REPORT)
    meter, saved_s = Meter(device, worker.world_size, progress.unsaid), time.perf_counter()
    started_s = saved_s - progress.elapsed_s
    for step, parts in ahead(read, progress.step + 1, total_steps):
        if (step - 1) % look == 0:
            leave_if_told(step - 1)
        stage = stage_at(stages, step)
        module.stage = stage.number
        if step == stage.before + 1:  # the losses are others, and so are their moments and what is a low loss
            optimizer.state.clear()
            unknowing = loss_of_swapped(module, teacher.model, parts, worker)
            progress = replace(progress, first=math.nan, lowest=math.inf, unknowing=unknowing)
        open_layers(student, learning, stage.opened(step, len(layers_of(student))))
        rate = config["learning_rate"] * stage.rate(step, settings.warmup_fraction)
        for group in optimizer.param_groups:
            group["lr"] = rate
        mix = mix_of(step, total_steps, seed, settings.mixup) if settings.mixup else None
        loss = accumulate_gradients(wrapped, teacher.model, parts, mix)
        norm = nn.utils.clip_grad_norm_(module.parameters(), settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.add(loss, norm)
        if step % every and step not in said_steps:
            continue
        mean_loss, mean_norm, steps_per_s = meter.read()
        now = time.perf_counter()
        progress = advanced(progress, step, now - started_s, mean_loss, config["learning_rate"])
        said = TrialReport(
            step,
            round(stage.tokens(step)),
            mean_loss,
            rate,
            mean_norm,
            steps_per_s * stage.tokens_per_step,
            progress.elapsed_s,
        )
        if step in rung_steps and worker.rank == 0 and score is not None:
            module.hand_over()
            scores = score(student)
            module.take_back()
            said = replace(said, scores=scores)
            if scores.quality > (keeps_above if progress.best is None else progress.best.quality):
                passed = Passed(scores.quality, said.train_tokens, module.stage)
                progress, best = replace(progress, best=passed), copied_weights(module)
            meter.since = time.perf_counter()
            started_s += meter.since - now
        if step in rung_steps or now - saved_s > settings.checkpoint_every_s:
            save(replace(progress, report=said))
            saved_s = now
        report(said)
    leave_if_told(total_steps)
    train_s = time.perf_counter() - started_s
    open_layers(student, learning, None)
    module.stage = stages[-1].number
    held_out = held_out_loss(module, teacher, corpus, settings, device, kept[-1])
    module.hand_over()
    return Trained(
        loss_first=progress.first,
        loss_last=progress.last,
        steps=total_steps,
        train_tokens=round(stages[-1].tokens(total_steps)),
        train_s=train_s,
        teacher_s=module.teacher_s if device.type == "cpu" else None,
        held_out_loss=held_out,
        targets=where_from(module, kept),
    )


def any_of(told: bool, world_size: int, device: torch.device) -> bool:
    """Whether any worker says so; all of them ask at the same step."""
    if world_size == 1:
        return told
    flag = torch.tensor([told], dtype=torch.int32, device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def accumulate_gradients(
    wrapped: nn.Module, teacher: PreTrainedModel, parts: list[Reading], mix: Mix | None = None
) -> Tensor:
    """The mean loss over equal parts of a batch, and its gradients; workers exchange them with the last part only."""
    losses = []
    for number, part in enumerate(parts, start=1):
        alone = isinstance(wrapped, DistributedDataParallel) and number < len(parts)
        with wrapped.no_sync() if alone else contextlib.nullcontext():  # type: ignore[operator]
            loss = wrapped(teacher, part, mix) / len(parts)
            loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def advanced(progress: Progress, step: int, elapsed_s: float, loss: float, learning_rate: float) -> Progress:
    """The progress after a report. Raises TrialFailed when training has left the road."""
    if not math.isfinite(loss):
        raise TrialFailed(f"the loss became {loss} by step {step} (learning_rate {learning_rate:g})")
    # A student that starts as its teacher has next to no loss, and has more as soon as it moves: that is no divergence.
    if loss > DIVERGED_FACTOR * progress.lowest and loss > max(progress.first, progress.unknowing):
        raise TrialFailed(
            f"diverged: loss {loss:.4g} at step {step} after a low of {progress.lowest:.4g} "
            f"(learning_rate {learning_rate:g})"
        )
    first = loss if math.isnan(progress.first) else progress.first
    lowest = min(progress.lowest, loss)
    return Progress(step, elapsed_s, first, lowest, loss, progress.unknowing, best=progress.best)


def build_optimizer(module: nn.Module, learning_rate: float, training: TrainingSpec) -> torch.optim.AdamW:
    """AdamW without decay of biases and LayerNorm weights, in a fixed order of parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, eps=1e-6, fused=True)


def shards(batch_size: int, worker: Worker, accumulation: int) -> list[slice]:
    """Rows of the global batch for each micro-batch of one worker."""
    size, left = divmod(batch_size, worker.world_size * accumulation)
    if left or not size:
        raise TrialFailed(
            f"batch_size {batch_size} cannot be split evenly over {worker.world_size} workers x "
            f"{accumulation} accumulation steps"
        )
    starts = [(micro * worker.world_size + worker.rank) * size for micro in range(accumulation)]
    return [slice(start, start + size) for start in starts]


@torch.no_grad()
def held_out_loss(
    module: Distillation,
    teacher: Teacher,
    corpus: Corpus,
    training: TrainingSpec,
    device: torch.device,
    targets: Targets | None,
) -> float:
    """The same loss on held-out blocks, under masks that are the same for every trial."""
    total, count = 0.0, held_out_blocks(corpus)
    for start in range(0, count, HELD_OUT_CHUNK):
        blocks = np.arange(start, min(start + HELD_OUT_CHUNK, count))
        views = np.zeros_like(blocks)
        reading = module.read(corpus, "held_out", blocks, views, training, targets, module.stage).to(device)
        total += module(teacher.model, reading).item() * len(blocks)
    return total / count


def held_out_blocks(corpus: Corpus) -> int:
    """How many held-out blocks the loss is taken over."""
    return min(HELD_OUT_BLOCKS, len(corpus.held_out))
