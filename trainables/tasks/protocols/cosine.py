"""How much of a task on pairs the cosine of the two embeddings alone solves: what a probe of them has to beat."""

import numpy as np
from transformers import PreTrainedModel

from trainables.tasks.data import TaskData
from trainables.tasks.kind import Terms
from trainables.tasks.protocols.heads import CLASSES, NUMBERS
from trainables.tasks.protocols.probe import fit_linear
from trainables.tasks.protocols.zero_shot import cosines


def score_of_cosine(model: PreTrainedModel, task: TaskData, terms: Terms) -> float | None:
    """The score on dev of a linear model of the cosine, fitted on train; None for a task that is not on pairs."""
    if "text2" not in task.splits["dev"].views:
        return None
    predict, head = cosines(model, task, terms), CLASSES if task.label_names else NUMBERS
    fit = fit_linear(head, predict("train").values[:, None], np.asarray(task.splits["train"].labels.values), 1.0)
    answers = fit.predict(predict("dev").values[:, None])
    return terms.metric.function(task.splits["dev"].labels, answers, task.label_names)
