"""Labelled tasks, as the rest of the tool sees them: prepare, load, score, and compare with teacher and floor.

A trial's quality is a mean over tasks of `recovered(score, teacher, floor)` (spaces/records/shares.py), never a raw
score: an untrained encoder with a linear probe already gets most of the way on some tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from spaces.errors import SpecError
from trainables.machine import use_bf16
from trainables.models.encoder import architecture, usable_positions
from trainables.models.file_encoder import FileEncoder
from trainables.tasks.data import TaskData
from trainables.tasks.kind import Predictions, Terms
from trainables.tasks.kinds import KINDS
from trainables.tasks.metrics import Metric, check_gap, recovered, worst_language
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.spec import FINETUNE, EvaluationSpec, protocol_for

__all__ = [
    "TaskData",
    "TaskScore",
    "check_gap",
    "in_bf16",
    "load_task",
    "metric_of",
    "prepare_task",
    "recovered",
    "score_task",
    "worst_language",
]


def metric_of(task: TaskData, name: str) -> Metric:
    """One of the metrics by which tasks of this kind are scored."""
    return KINDS[task.kind].metric(name)


@dataclass(frozen=True)
class TaskScore:
    """A score in the range of its metric, and how it came about.

    `layer` is the layer whose features the probe chose: 0 the embeddings, 1 the first layer; None under fine-tuning.
    `converged` is False when the final probe hit its iteration limit.
    """

    score: float
    layer: int | None
    metric: str
    protocol: str
    converged: bool = True


def in_bf16(model: PreTrainedModel | FileEncoder, evaluation: EvaluationSpec) -> bool:
    """Whether a probe reads the model in bfloat16; a file computes as it was written."""
    if isinstance(model, FileEncoder):
        return False
    return use_bf16(evaluation.precision, model.device, architecture(model.config).hidden_size)


def score_task(
    model: PreTrainedModel | FileEncoder,
    task: TaskData,
    evaluation: EvaluationSpec,
    splits: Sequence[str],
    seed: int,
    fitted_on: PreTrainedModel | FileEncoder | None = None,
) -> dict[str, TaskScore]:
    """Score a model on the dev or test split of a task, or on both after one fit; the model is left as it was.

    A kind that does not have the protocol is scored by its own first one. fitted_on: the encoder on whose features a
    probe is fitted, the same layer and fit then reading the model; None: the model.
    """
    own, kind = protocol_for(task.kind, evaluation.protocol), KINDS[task.kind]
    for split in splits:
        if split not in ("dev", "test") or split not in task.splits:
            has = ", ".join(name for name in ("dev", "test") if name in task.splits)
            raise SpecError([f"task {task.name!r} cannot be scored on {split!r}; it has {has}"])
    usable = usable_positions(model.config)
    if (longest := task.longest()) > usable:
        problem = f"task {task.name!r} has texts of {longest} tokens, the model reads {usable}"
        raise SpecError([f"{problem}; set max_length = {usable}"])
    metric = kind.metric_under(own, task.metric.name)
    if misfit := metric.misfit(task.label_names):
        raise SpecError([f"task {task.name!r}: {metric.name}, by which {own} scores it, {misfit}"])
    values: dict[str, list[float]] = {split: [] for split in splits}
    found: dict[str, Predictions] = {}
    for fit in range(evaluation.recipe.seeds if own == FINETUNE else 1):
        bf16 = fitted_on is None and in_bf16(model, evaluation)  # what two encoders are compared by is exact
        terms = Terms(metric, seed + fit, evaluation.layer, evaluation.recipe, fitted_on, bf16)
        predict = kind.protocols[own].run(model, task, terms)
        for split in splits:
            found[split] = predict(split)
            labels = task.splits[split].labels
            values[split].append(metric.function(labels, found[split].values, task.label_names))
    return {
        split: TaskScore(sum(each) / len(each), found[split].layer, metric.name, own, found[split].converged)
        for split, each in values.items()
    }
