"""Labelled tasks, as the rest of the tool sees them: prepare, load, score, and compare with teacher and floor.

A trial's quality is the mean over tasks of `recovered(score, teacher, floor)`, never a raw score: an untrained encoder
with a linear probe already gets most of the way on some tasks.
"""

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from spaces.errors import SpecError, choose
from trainables.models.encoder import usable_positions
from trainables.tasks.data import TaskData, load_task, prepare_task
from trainables.tasks.finetune import finetune
from trainables.tasks.metrics import METRICS, Scorer, TaskScore, check_gap, recovered, worst_language
from trainables.tasks.probe import probe

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "TaskData",
    "TaskScore",
    "check_gap",
    "load_task",
    "prepare_task",
    "recovered",
    "score_task",
    "worst_language",
]

Protocol = Callable[[PreTrainedModel, TaskData, int], Scorer]
PROTOCOLS: dict[str, Protocol] = {"probe": probe, "finetune": finetune}


def score_task(
    model: PreTrainedModel, task: TaskData, protocol: str, splits: Sequence[str], seed: int
) -> dict[str, TaskScore]:
    """Score a model on the dev or test split of a task, or on both after one fit; the model is left as it was."""
    fit = choose("protocol", PROTOCOLS, protocol)
    for split in splits:
        if split not in ("dev", "test") or split not in task.splits:
            has = ", ".join(name for name in task.splits if name != "train")
            raise SpecError([f"task {task.name!r} cannot be scored on {split!r}; it has {has}"])
    usable = usable_positions(model.config)
    if (longest := task.longest()) > usable:
        problem = f"task {task.name!r} has texts of {longest} tokens, the model reads {usable}"
        raise SpecError([f"{problem}; set max_length = {usable}"])
    score = fit(model, task, seed)
    return {split: score(split) for split in splits}
