"""A kind of labelled task: everything that tells one from another, in one value.

A new kind is one file: a TaskKind, made of functions of its own and of those that other kinds share, and one entry in
KINDS (kinds/__init__.py), or in the entry points of another package under "stillhouse.tasks".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.tasks.data import Rows, Split, TaskData
from trainables.tasks.metrics import Metric
from trainables.tasks.reading.tables import Column, TaskSource
from trainables.text.ragged import Ragged


@dataclass(frozen=True)
class Predictions:
    """What a model says about one split, and how that came about.

    values: what the metrics of the kind take. layer: the layer whose features were chosen (0 the embeddings, 1 the
    first layer), None where none is chosen. converged: False when a fit hit its limit of iterations.
    """

    values: Any
    layer: int | None = None
    converged: bool = True


LAYERS = ("any", "last")


@dataclass(frozen=True)
class Recipe:
    """How fine-tuning goes: see the keys finetune_... of [evaluation]."""

    epochs: int | None = None
    learning_rates: tuple[float, ...] = ()
    batch_size: int = 16
    seeds: int = 1


@dataclass(frozen=True)
class Terms:
    """What a protocol is asked for beside model and task.

    metric: by which what is fitted may choose. layer: of LAYERS, whether features may come from any layer. recipe: of
    what is trained. fitted_on: the encoder whose features are fitted, where it is not the model itself. bf16: whether
    the forward passes of a probe are in bfloat16.
    """

    metric: Metric
    seed: int
    layer: str = "any"
    recipe: Recipe = Recipe()
    fitted_on: Any = None
    bf16: bool = False


Run = Callable[[Any, TaskData, Terms], Callable[[str], Predictions]]
"""(model, task, terms) -> a function from the name of a split to predictions for it.

What is fitted is fitted on train before that function is returned; zero-shot protocols fit nothing. The model is a
PreTrainedModel, and is left as it was.
"""


@dataclass(frozen=True)
class Protocol:
    """A way to make predictions, and the metrics that read them; the first is the default."""

    run: Run
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class TaskKind:
    """One kind of task.

    doc: what is predicted, in a few words.
    columns: by role what is read of a table; a spec may call the roles text, text2 and label otherwise (`text_column`
        and so on), others have the name that is given here.
    read: the checked rows of `dev`, and of `train`, `test` and further parts where the kind has them, and the names of
        the classes, if any. Raises SpecError with every problem found. See reading/rows.py for functions to use.
    encode: (rows, tokenizer, max_length) -> the same as token ids; labels of what is cut off may be dropped.
    strata: the group of each row for stratified samples, from its labels; see sampling.py.
    protocols: how it is scored, by name; the first is taken when a study asks for one that is not here.
    fits: whether any protocol is fitted on train; where none is, train only serves to make a dev split that is absent.
    of_pairs: whether a model that scores pairs can be scored by zero_shot, which then reads the view `pair`.
    has_documents: whether rows are queries, answered from the part `documents`; their labels are JUDGED (ranking.py).
    hub_task: what the Hugging Face hub calls such tasks, for cards.
    """

    doc: str
    columns: Mapping[str, Column]
    read: Callable[[TaskSource], tuple[dict[str, Rows], tuple[str, ...]]]
    encode: Callable[[Rows, Any, int], Split]
    strata: Callable[[Ragged], np.ndarray]
    protocols: Mapping[str, Protocol]
    fits: bool = True
    of_pairs: bool = False
    has_documents: bool = False
    hub_task: str = "text-classification"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of all protocols, each once; the first is that of a task that names none."""
        return tuple({each.name: each for way in self.protocols.values() for each in way.metrics}.values())

    def metric(self, name: str | None) -> Metric:
        """One of its metrics by name, or its first; KeyError for another's."""
        return {metric.name: metric for metric in self.metrics}[name or self.metrics[0].name]

    def metric_under(self, protocol: str, name: str) -> Metric:
        """The metric of that name where the protocol has it, or the protocol's first."""
        own = self.protocols[protocol].metrics
        return next((metric for metric in own if metric.name == name), own[0])
