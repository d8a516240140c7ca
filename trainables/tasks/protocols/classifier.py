"""Scored by the classification head that a model has: the likeliest class of each text. Nothing is fitted.

Shapes: N texts, C classes of the model, K classes of the task.
"""

from collections.abc import Callable

from transformers import PreTrainedModel

from trainables.models.classes import class_places
from trainables.models.encoder import classes_of
from trainables.models.file_encoder import FileEncoder
from trainables.models.pair_scores import logits_of
from trainables.tasks.data import TaskData
from trainables.tasks.kind import Predictions, Terms


def own_classes(model: PreTrainedModel | FileEncoder, task: TaskData, terms: Terms) -> Callable[[str], Predictions]:
    """The likeliest of the task's classes, by the model's own head. Raises SpecError where the model has others."""
    places_K = class_places(f"task {task.name!r}:", classes_of(model), task.label_names)

    def predict(split: str) -> Predictions:
        logits_NC = logits_of(model, task.splits[split].views["text"], task.pad_id)
        return Predictions(logits_NC[:, places_K].argmax(1))

    return predict
