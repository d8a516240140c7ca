"""The probe: how much a frozen encoder's features tell a linear classifier, the score trials are compared by.

Mean-pooled features of every layer from one forward pass; logistic regression (ridge for regression) on standardised
features. Layer and strength are those of least loss on held-out folds of train, stratified. The loss is asked rather
than the metric, since some hundred rows tell losses apart where they do not tell accuracies. The choice is refitted on
all of train and scored on the asked split, which has had no say. Every layer is asked because MHA transfer leaves parts
of the last one untrained (arXiv:2012.15828 matches its queries, keys and values only).

Whole rows are held out, also where a row has several labels.

Shapes: L layers, N examples, F features.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedModel

from trainables.models.encoder import architecture
from trainables.tasks.data import Split, TaskData
from trainables.tasks.kind import Predictions, Terms
from trainables.tasks.kinds import KINDS
from trainables.tasks.protocols.features import Features, encoded_features
from trainables.tasks.protocols.heads import Head
from trainables.tasks.protocols.linear import Fit, digest_of_fit, fit_linear, kept_fit
from trainables.tasks.sampling import generator, stratified_order
from trainables.text.ragged import Ragged

NUM_FOLDS = 5
REACH = 2.0
"""Standard errors by which the loss of a candidate may stand above the least and still be asked on the next fold."""
STRENGTHS = (0.01, 0.1, 1.0)
"""C of the logistic regression; the ridge penalty is 1 / C, which is the same objective with squared loss halved."""

log = logging.getLogger(__name__)


def probe(
    model: PreTrainedModel,
    task: TaskData,
    terms: Terms,
    *,
    features: Features,
    head: Head,
    max_labels: int | None = None,
) -> Callable[[str], Predictions]:
    """Fit on frozen features, once for an encoder and a task; the same model, task and seed give the same predictions.

    terms: with the layer "last" no other is asked; features of `fitted_on` are fitted, and the model is read by that.
    max_labels: the fits see the rows, drawn by the seed, that have so many labels together; None: all.
    """
    train, order = fitted_part(task, terms.seed, max_labels)
    chosen = (NUM_FOLDS, REACH, STRENGTHS, terms.seed, terms.layer, terms.bf16)
    read = (task.kind, task.pad_id, task.label_names, getattr(features, "__qualname__", features))
    encoder = model if terms.fitted_on is None else terms.fitted_on

    def compute() -> Fit:
        return best_fit(encoder, task, train, order, terms, features, head)

    fit = kept_fit(digest_of_fit(encoder, train, *chosen, *read), compute)

    def predict(split: str) -> Predictions:
        features_LNF = task_features(model, task, task.splits[split], features, [fit.layer], bf16=terms.bf16)
        return Predictions(fit.predict(features_LNF[0]), fit.layer, fit.converged)

    return predict


def fitted_part(task: TaskData, seed: int, max_labels: int | None) -> tuple[Split, np.ndarray]:
    """(the rows of train that are fitted, a random order of them, along which folds are held out)."""
    everything = task.splits["train"]
    order = stratified_order(KINDS[task.kind].strata(everything.labels), generator(seed, "held out"))
    rows = np.sort(order[: num_fitted(everything.labels, order, max_labels)])
    return everything.take(rows), np.searchsorted(rows, order[: len(rows)])


def best_fit(
    model: PreTrainedModel,
    task: TaskData,
    train: Split,
    order: np.ndarray,
    terms: Terms,
    features: Features,
    head: Head,
) -> Fit:
    """Fitted on train, at the layer and strength that serve best on held-out folds along this order of its rows."""
    layers = range(architecture(model.config).num_layers + 1)[-1 if terms.layer == "last" else 0 :]
    train_LNF = task_features(model, task, train, features, layers, bf16=terms.bf16)
    best, strength = chosen_by_folds(train_LNF, train.labels, order, head)
    fit = replace(fit_linear(head, train_LNF[best], train.labels.values, strength), layer=layers[best])
    if not fit.converged:
        log.info("probe of %s: stopped at its limit of iterations (layer %d, C %g)", task.name, fit.layer, strength)
    return fit


def chosen_by_folds(x_LNF: np.ndarray, labels: Ragged, order: np.ndarray, head: Head) -> tuple[int, float]:
    """(place of the layer, strength) of least mean loss on held-out folds along this order of the rows.

    A race (Maron and Moore 1994): after each fold those that are clearly behind the best, row by row, leave it.
    """
    losses_N = {each: np.empty(0) for each in itertools.product(range(len(x_LNF)), STRENGTHS)}
    for held_out_rows in np.array_split(order, min(NUM_FOLDS, len(order))):
        held_out, fitted = labels.indices(held_out_rows), labels.indices(np.setdiff1d(order, held_out_rows))
        for place, strength in losses_N:
            fit = fit_linear(head, x_LNF[place][fitted], labels.values[fitted], strength)
            found_N = fit.losses(x_LNF[place][held_out], labels.values[held_out])
            losses_N[place, strength] = np.concatenate([losses_N[place, strength], found_N])
        least_N = min(losses_N.values(), key=np.mean)
        losses_N = {each: own_N for each, own_N in losses_N.items() if not behind(own_N - least_N)}
        if len(losses_N) == 1:
            break
    return min(losses_N, key=lambda each: losses_N[each].mean())


def behind(differences_N: np.ndarray) -> bool:
    """Whether a mean is above 0 by more than REACH of its standard errors."""
    return bool(differences_N.mean() > REACH * differences_N.std() / np.sqrt(len(differences_N)))


def task_features(
    model: PreTrainedModel,
    task: TaskData,
    split: Split,
    features: Features,
    layers: Sequence[int] | None = None,
    *,
    bf16: bool = False,
) -> np.ndarray:
    """Features of a split or a part of one at the asked layers (all by default), LNF float32, an N for each label."""

    def read(texts: Ragged, words: Ragged | None = None) -> np.ndarray:
        return encoded_features(model, texts, task.pad_id, words, layers=layers)

    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        return features(split, read)


def num_fitted(labels: Ragged, order: np.ndarray, max_labels: int | None) -> int:
    """How many of the rows in this order are fitted: all, or as many as have max_labels labels (two at least)."""
    if max_labels is None:
        return len(order)
    return max(2, int(np.searchsorted(np.cumsum(labels.lengths()[order]), max_labels, side="right")))
