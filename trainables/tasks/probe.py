"""The probe: how much a frozen encoder's features tell a linear classifier, the score trials are compared by.

Mean-pooled features of every layer from one forward pass; logistic regression (ridge for regression) on standardised
features. Layer and strength are chosen on a stratified fifth held out from train, first the layer at the middle
strength, then the strength at that layer; the choice is refitted on all of train and scored on the asked split, which
has had no say. Every layer is asked because MHA transfer leaves parts of the last one untrained
(arXiv:2012.15828 matches its queries, keys and values only).

Pairs are encoded separately as u and v; features are |u - v| and u * v, for classification also u and v
(InferSent, arXiv:1705.02364). For token classification the features of a word are the state of its first sub-token, as
in BERT's tagger (arXiv:1810.04805, section 5.3); whole sentences are held out, and the fits see MAX_FITTED_WORDS words
of sentences drawn by the seed.

Shapes: B batch, T tokens, D hidden size, L layers, N examples, F features.
"""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainables.models.encoder import hidden_states
from trainables.tasks.data import Encoded, Split, TaskData, generator, stratified_order
from trainables.tasks.metrics import Scorer, TaskScore

BATCH_TOKENS = 2048
HELD_OUT_SHARE = 0.2
STRENGTHS = (0.01, 0.1, 1.0)
"""C of the logistic regression; the ridge penalty is 1 / C, which is the same objective with squared loss halved."""
MAX_ITERATIONS = 200
TOLERANCE = 1e-3
MAX_FITTED_WORDS = 4000
"""A tagged sentence gives some twenty examples, and the fits take time in proportion."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """A fitted linear model with the scaling of its features."""

    model: Any
    mean_F: np.ndarray
    scale_F: np.ndarray
    converged: bool

    def predict(self, x_NF: np.ndarray) -> np.ndarray:
        """Class ids or real numbers."""
        return self.model.predict((x_NF - self.mean_F) / self.scale_F)


def probe(model: PreTrainedModel, task: TaskData, seed: int, *, bf16: bool = False) -> Scorer:
    """Fit on frozen features; the same model, task and seed give the same scores."""
    order = stratified_order(task.splits["train"].strata(), generator(seed, "held out"))
    rows = np.sort(order[: num_fitted(task.splits["train"], order)])
    train = task.splits["train"].take(rows)
    order = np.searchsorted(rows, order[: len(rows)])
    train_LNF = task_features(model, task, train, bf16=bf16)
    labels_N = np.asarray(train.labels)
    held_out_rows, fitted_rows = np.split(order, [max(1, round(HELD_OUT_SHARE * len(order)))])
    held_out, fitted = train.label_indices(held_out_rows), train.label_indices(fitted_rows)
    held_out_metric = train.metric(task.metric, task.label_names, held_out_rows)

    def trial_score(layer: int, strength: float) -> float:
        fit = fit_linear(train_LNF[layer][fitted], labels_N[fitted], strength)
        return held_out_metric(labels_N[held_out], fit.predict(train_LNF[layer][held_out]))

    middle = STRENGTHS[len(STRENGTHS) // 2]
    layer_scores = [trial_score(layer, middle) for layer in range(len(train_LNF))]
    layer = int(np.argmax(layer_scores))
    others = {strength: trial_score(layer, strength) for strength in STRENGTHS if strength != middle}
    strength_scores = others | {middle: layer_scores[layer]}
    strength = max(STRENGTHS, key=lambda value: (strength_scores[value], -value))

    fit = fit_linear(train_LNF[layer], labels_N, strength)
    if not fit.converged:
        log.info("probe of %s: stopped at %d iterations (layer %d, C %g)", task.name, MAX_ITERATIONS, layer, strength)

    def score(split: str) -> TaskScore:
        features_LNF = task_features(model, task, task.splits[split], layers=[layer], bf16=bf16)
        metric = task.splits[split].metric(task.metric, task.label_names)
        value = metric(np.asarray(task.splits[split].labels), fit.predict(features_LNF[0]))
        return TaskScore(value, layer, task.metric, fit.converged)

    return score


def num_fitted(split: Split, order: np.ndarray) -> int:
    """How many of the texts in this order are fitted: all, or as many as have MAX_FITTED_WORDS words (two at least)."""
    if split.words is None:
        return len(order)
    words_so_far = np.cumsum(split.words.lengths()[order])
    return max(2, int(np.searchsorted(words_so_far, MAX_FITTED_WORDS, side="right")))


def fit_linear(x_NF: np.ndarray, labels_N: np.ndarray, strength: float) -> Fit:
    """Logistic regression for class ids, ridge for real targets, on features standardised by their own statistics.

    Running out of iterations is noted in the result instead of warned about: a fit so far along ranks layers as well.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    mean_F, scale_F = x_NF.mean(0), x_NF.std(0)
    scale_F[scale_F < 1e-8] = 1.0
    if np.issubdtype(labels_N.dtype, np.integer):
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    else:
        model = Ridge(alpha=1.0 / strength)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit((x_NF - mean_F) / scale_F, labels_N)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn(warning.message, warning.category, stacklevel=2)
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return Fit(model, mean_F, scale_F, converged)


def task_features(
    model: PreTrainedModel, task: TaskData, split: Split, *, layers: list[int] | None = None, bf16: bool = False
) -> np.ndarray:
    """Features of a split or a part of one at the asked layers (all by default), LNF float32, an N for each label."""
    views = split.views
    u_LND = encoded_features(model, views["text"], task.pad_id, split.words, layers=layers, bf16=bf16)
    if "text2" not in views:
        return u_LND
    v_LND = encoded_features(model, views["text2"], task.pad_id, layers=layers, bf16=bf16)
    parts = [np.abs(u_LND - v_LND), u_LND * v_LND]
    if task.kind != "regression":
        parts = [u_LND, v_LND, *parts]
    return np.concatenate(parts, axis=-1)


@torch.inference_mode()
def encoded_features(
    model: PreTrainedModel,
    texts: Encoded,
    pad_id: int,
    words: Encoded | None = None,
    *,
    layers: list[int] | None = None,
    bf16: bool = False,
) -> np.ndarray:
    """Mean over the valid positions of each text at the asked layers (all by default), LND float32.

    With `words`, the states at the positions that it gives for each text instead, one example for each. Texts are
    batched by length, so that little is padded; the result is in their own order.
    """
    device = next(model.parameters()).device
    deepest = None if layers is None else max(layers)
    was_training = model.training
    model.eval()
    features_LND: np.ndarray | None = None
    try:
        for rows in length_batches(texts.lengths(), BATCH_TOKENS):
            ids_BT, mask_BT = padded([texts[row] for row in rows], pad_id)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                states = hidden_states(model, ids_BT.to(device), mask_BT.to(device), deepest)
            asked = states if layers is None else [states[layer] for layer in layers]
            if words is None:
                read_LBD = np.stack([mean_pool(state_BTD, mask_BT.to(device)).cpu().numpy() for state_BTD in asked])
            else:
                places = word_places(words, rows)
                read_LBD = np.stack([state_BTD[places].float().cpu().numpy() for state_BTD in asked])
            if features_LND is None:
                count = len(texts) if words is None else len(words.ids)
                features_LND = np.empty((len(asked), count, read_LBD.shape[-1]), dtype=np.float32)
            features_LND[:, rows if words is None else words.indices(rows)] = read_LBD
    finally:
        model.train(was_training)
    assert features_LND is not None, "a prepared split is never empty"
    return features_LND


def mean_pool(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over valid positions, BD float32."""
    weights_BT1 = mask_BT.to(torch.float32).unsqueeze(-1)
    return (states_BTD.float() * weights_BT1).sum(1) / weights_BT1.sum(1).clamp(min=1.0)


def word_places(words: Encoded, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """(row of the batch, position) of each scored word of these texts, batched in this order, padded on the right."""
    inside = np.repeat(np.arange(len(rows)), words.lengths()[rows])
    return torch.from_numpy(inside), torch.from_numpy(np.asarray(words.ids)[words.indices(rows)].astype(np.int64))


def padded(rows: list[np.ndarray], pad_id: int) -> tuple[Tensor, Tensor]:
    """(ids, mask) of token rows, padded on the right to the longest, both int64 BT."""
    longest = max(len(row) for row in rows)
    ids_BT = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    mask_BT = torch.zeros((len(rows), longest), dtype=torch.int64)
    for i, row in enumerate(rows):
        ids_BT[i, : len(row)] = torch.from_numpy(row.astype(np.int64))
        mask_BT[i, : len(row)] = 1
    return ids_BT, mask_BT


def length_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Indices in batches of similar length, of at most `batch_tokens` tokens once padded (one long text at least)."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= batch_tokens:
            stop += 1
        yield order[start:stop]
        start = stop
