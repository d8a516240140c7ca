"""The only training loop: a student, a teacher, blocks of tokens, and a budget in tokens.

Everything random is a function of (seed, step), so a loop that goes on from a checkpoint sees what an undisturbed one
would have seen; on a CPU the two end in the same bits. With several workers each takes its rows of the same global
batch and gradients are averaged, so the number of workers does not change the mathematics.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from spaces.architecture import architecture_of
from spaces.errors import TrialFailed
from spaces.transfer import parse_method, terms_of
from trainables.corpus import Corpus, batch_indices, mask_tokens
from trainables.encoder import lm_logits
from trainables.objectives import OBJECTIVES, Batch, Pairing, joined
from trainables.student import principal_directions
from trainables.teacher import Signals, Teacher, read_signals

Report = Callable[[dict], None]
REPORTS_PER_TRIAL = 20
HELD_OUT_BATCHES = 4
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

    def __init__(self, student: PreTrainedModel, teacher: Teacher, config: dict, bf16: tuple[bool, bool]):
        super().__init__()
        self.student = student
        self.pairing = Pairing(config, architecture_of(config), teacher.facts.architecture)
        self.terms = parse_method(config["method"])
        wants = [OBJECTIVES[name].wants(self.pairing) for name, _ in self.terms]
        self.student_wanted, self.teacher_wanted = joined([w[0] for w in wants]), joined([w[1] for w in wants])
        self.needs_teacher = self.teacher_wanted != joined([])
        self.student_bf16, self.teacher_bf16 = bf16
        self.projections = nn.ParameterDict()
        for name, _ in self.terms:
            for key, (narrow, wide) in OBJECTIVES[name].projections(self.pairing).items():
                self.projections[key] = first_projection(key, narrow, wide, teacher)

    def forward(
        self, teacher: PreTrainedModel, inputs_BT: Tensor, positions_BT: Tensor | None, labels_N: Tensor | None
    ) -> Tensor:
        """The weighted sum of the method's losses over one batch without padding."""
        kind = inputs_BT.device.type
        read = Signals(hidden={})
        if self.needs_teacher:
            with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=self.teacher_bf16):
                read = read_signals(teacher, self.teacher_wanted, inputs_BT, None, positions_BT)
        with torch.autocast(kind, torch.bfloat16, enabled=self.student_bf16):
            ours = read_signals(self.student, self.student_wanted, inputs_BT, None, positions_BT)
        batch = Batch(labels_N=labels_N)
        maps = dict(self.projections.items())
        losses = [w * OBJECTIVES[name].loss(ours, read, maps, batch, self.pairing) for name, w in self.terms]
        return torch.stack(losses).sum()


def first_projection(key: str, narrow: int, wide: int, teacher: Teacher) -> nn.Parameter:
    """Hidden states start in the basis in which students are projected; everything else starts orthonormal."""
    if key.startswith("hidden") and narrow <= wide:
        return nn.Parameter(principal_directions(teacher.model.get_input_embeddings().weight, narrow).T.contiguous())
    return nn.Parameter(nn.init.orthogonal_(torch.empty(narrow, wide)))


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
) -> dict:
    """Train `student` in place until `train_tokens` are seen; returns losses, tokens, steps and seconds.

    Reports carry step, train_tokens, loss (mean since the last report), learning_rate, gradient_norm, tokens_per_s and
    elapsed_s, and every rank makes the same number of them. Raises TrialFailed when the loss is not finite or diverges.
    """
    device = next(student.parameters()).device
    batch_size, length = config["batch_size"], corpus.train.shape[1]
    if batch_size % (world_size * training.gradient_accumulation):
        raise TrialFailed(
            f"batch_size {batch_size} cannot be split over {world_size} workers x "
            f"{training.gradient_accumulation} accumulation steps"
        )
    masked = any(term.masked_inputs for term in terms_of(config["method"]))
    torch.manual_seed(seed)
    module = Distillation(student, teacher, config, (use_bf16(training.precision, device, student=True),
                                                     use_bf16(training.teacher_precision, device, student=False)))  # fmt: skip
    module.to(device)
    optimizer = build_optimizer(module, config["learning_rate"], training)
    total_steps = max(1, math.ceil(train_tokens / (batch_size * length)))
    step, elapsed_s = 0, 0.0
    if checkpoint is not None and checkpoint.is_file():
        step, elapsed_s = load_checkpoint(checkpoint, module, optimizer)
    wrapped = DistributedDataParallel(module, find_unused_parameters=True) if world_size > 1 else module

    def batch_loss(blocks: np.ndarray, step: int, micro: int) -> Tensor:
        rows = slice(*shard(batch_size, rank, world_size, micro, training.gradient_accumulation))
        inputs, positions, labels = read_batch(blocks, corpus, masked, training.mask_fraction, [seed, step], rows)
        return wrapped(teacher.model, inputs.to(device), move(positions, device), move(labels, device))

    every = max(1, total_steps // REPORTS_PER_TRIAL)
    summed, norms, lowest, first = torch.zeros((), device=device), torch.zeros((), device=device), math.inf, math.nan
    counted, loss = 0, math.nan
    started = last_report = last_saved = time.perf_counter()
    while step < total_steps:
        rate = config["learning_rate"] * schedule(step, total_steps, training.warmup_fraction)
        for group in optimizer.param_groups:
            group["lr"] = rate
        blocks = corpus.train[batch_indices(len(corpus.train), batch_size, step, seed)]
        for micro in range(training.gradient_accumulation):
            final = micro == training.gradient_accumulation - 1
            with contextlib.nullcontext() if final or world_size == 1 else wrapped.no_sync():  # type: ignore[operator]
                part = batch_loss(blocks, step, micro) / training.gradient_accumulation
                part.backward()
            summed += part.detach()
        norms += nn.utils.clip_grad_norm_(module.parameters(), training.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, counted = step + 1, counted + 1
        if step % every == 0 or step == total_steps:
            if world_size > 1:
                dist.all_reduce(summed)
                summed /= world_size
            loss = summed.item() / counted
            check_loss(loss, lowest, first, step, config["learning_rate"])
            lowest, first = min(lowest, loss), loss if math.isnan(first) else first
            now = time.perf_counter()
            report({
                "step": step, "train_tokens": step * batch_size * length, "loss": loss, "learning_rate": rate,
                "gradient_norm": norms.item() / counted, "elapsed_s": elapsed_s + now - started,
                "tokens_per_s": counted * batch_size * length / (now - last_report),
            })  # fmt: skip
            last_report, counted = now, 0
            summed.zero_(), norms.zero_()
            if checkpoint is not None and rank == 0 and now - last_saved > training.checkpoint_every_s:
                save_checkpoint(checkpoint, module, optimizer, step, elapsed_s + now - started)
                last_saved = now
    return {
        "loss_first": first, "loss_last": loss, "steps": step, "train_tokens": step * batch_size * length,
        "train_s": elapsed_s + time.perf_counter() - started,
        "held_out_loss": held_out_loss(module, teacher, corpus, masked, training, batch_size, device),
    }  # fmt: skip


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


def shard(batch_size: int, rank: int, world_size: int, micro: int, accumulation: int) -> tuple[int, int]:
    """(start, stop) rows of the global batch for one micro-batch of one worker."""
    size = batch_size // (world_size * accumulation)
    start = (micro * world_size + rank) * size
    return start, start + size


def read_batch(
    blocks: np.ndarray, corpus: Corpus, masked: bool, fraction: float, key: list[int], rows: slice
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(inputs_BT, masked positions_BT, labels_N) of some rows; masks are drawn for the whole batch from `key`."""
    ids_BT = torch.from_numpy(blocks.astype(np.int64))
    if not masked:
        return ids_BT[rows], None, None
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    inputs_BT, positions_BT = mask_tokens(ids_BT, corpus, fraction, generator)
    inputs_BT, positions_BT, ids_BT = inputs_BT[rows], positions_BT[rows], ids_BT[rows]
    return inputs_BT, positions_BT, ids_BT[positions_BT]


def move(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    """To the device, where there is something to move."""
    return None if tensor is None else tensor.to(device)


def check_loss(loss: float, lowest: float, first: float, step: int, learning_rate: float) -> None:
    """Raises TrialFailed when training has left the road."""
    if not math.isfinite(loss):
        raise TrialFailed(f"the loss became {loss} by step {step} (learning_rate {learning_rate:g})")
    if loss > DIVERGED_FACTOR * lowest and loss > first:
        raise TrialFailed(
            f"diverged: loss {loss:.4g} at step {step} after a low of {lowest:.4g} (learning_rate {learning_rate:g})"
        )


@torch.no_grad()
def held_out_loss(
    module: Distillation, teacher: Teacher, corpus: Corpus, masked: bool, training: TrainingSpec, size: int,
    device: torch.device,
) -> float:  # fmt: skip
    """The same loss on held-out blocks, under masks that are the same for every trial."""
    losses = []
    for start in range(0, min(len(corpus.held_out), HELD_OUT_BATCHES * size), size):
        blocks = corpus.held_out[start : start + size]
        inputs, positions, labels = read_batch(blocks, corpus, masked, training.mask_fraction, [start], slice(None))
        losses.append(module(teacher.model, inputs.to(device), move(positions, device), move(labels, device)).item())
    return float(np.mean(losses))


@torch.no_grad()
def masked_accuracy(model: PreTrainedModel, corpus: Corpus, max_blocks: int = 512, fraction: float = 0.15) -> float:
    """Share of masked held-out tokens that the model's head predicts exactly."""
    right = total = 0
    for start in range(0, min(len(corpus.held_out), max_blocks), 16):
        blocks = corpus.held_out[start : start + 16]
        inputs, positions, labels = read_batch(blocks, corpus, True, fraction, [7, start], slice(None))
        assert positions is not None and labels is not None
        states = model.base_model(input_ids=inputs).last_hidden_state
        right += int((lm_logits(model, states[positions]).argmax(-1) == labels).sum())
        total += len(labels)
    return right / total


def save_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.AdamW, step: int, elapsed_s: float) -> None:
    """Weights, projections and both Adam moments in one safetensors file, whole or not at all."""
    tensors = {f"module.{name}": value.detach().contiguous() for name, value in module.named_parameters()}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    save_file(tensors, unfinished, metadata={"progress": json.dumps({"step": step, "elapsed_s": elapsed_s})})
    os.replace(unfinished, path)


def load_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.AdamW) -> tuple[int, float]:
    """Put a checkpoint back; returns (step, seconds trained). One that cannot be read is set aside: (0, 0.0)."""
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except Exception as error:  # safetensors raises its own bare Exception kinds for a truncated file
        path.rename(path.with_name(f"{path.name}.unreadable"))
        print(f"checkpoint {path.name} could not be read ({error}); the trial starts over", flush=True)
        return 0, 0.0
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(tensors[f"module.{name}"])
            state = {
                key.split(".")[1]: value for key, value in tensors.items()
                if key.startswith("optimizer.") and key.split(".", 2)[2] == name
            }  # fmt: skip
            if state:
                optimizer.state[parameter] = {k: v.to(parameter.device) if v.ndim else v for k, v in state.items()}
    return int(progress["step"]), float(progress["elapsed_s"])
