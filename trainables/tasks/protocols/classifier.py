"""Scored by the classification head that a model has: the likeliest class of each text. Nothing is fitted.

Shapes: N texts, C classes of the model, K classes of the task.
"""

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from spaces.errors import SpecError
from trainables.models.encoder import classes_of
from trainables.models.pair_scores import logits_of
from trainables.tasks.data import TaskData
from trainables.tasks.kind import Predictions, Terms

UNNAMED = "LABEL_"
"""How transformers calls the classes of a model that names none: with their numbers behind."""


def own_classes(model: PreTrainedModel, task: TaskData, terms: Terms) -> Callable[[str], Predictions]:
    """The likeliest of the task's classes, by the model's own head."""
    places_K = class_places(task.name, classes_of(model), task.label_names)

    def predict(split: str) -> Predictions:
        logits_NC = logits_of(model, task.splits[split].views["text"], task.pad_id)
        return Predictions(logits_NC[:, places_K].argmax(1))

    return predict


def class_places(task: str, classes: Sequence[str], label_names: Sequence[str]) -> list[int]:
    """Which output of a model is each class of a task: by name, whatever its case, or where the task has numbers by
    these.

    Raises SpecError where some class of the task is none of the model's, or names say nothing.
    """
    where = f"task {task!r}: its classes must be those of the teacher"
    numbered = all(name.isdecimal() for name in label_names)
    known = {name.lower(): place for place, name in enumerate(classes)}
    if all(name.lower() in known for name in label_names):
        return [known[name.lower()] for name in label_names]
    if numbered and all(int(name) < len(classes) for name in label_names):
        return [int(name) for name in label_names]
    told = f"{listed(label_names)}, and the teacher has {listed(classes) or 'no classification head'}"
    if classes and all(name.startswith(UNNAMED) for name in classes):
        told += '; write what they mean into its config.json, under "id2label" and "label2id"'
    raise SpecError([f"{where}: {told}"])


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names as a person reads them."""
    return ", ".join(map(repr, names[:most])) + f" and {len(names) - most} more" * (len(names) > most)
