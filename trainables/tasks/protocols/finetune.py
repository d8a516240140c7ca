"""Fine-tuning: the field's standard comparison, the whole encoder trained on each task.

A few hundred examples need more than the usual 3 epochs, which are then too few steps (Mosbach, Andriushchenko and
Klakow 2021, arXiv:2006.04884), so that the number of epochs follows from the number of steps unless it is given.

AdamW with linear warm-up and decay on the encoder with a linear head on its mean-pooled last layer; the score of the
last epoch counts (no choice of epoch on dev). Pairs are read in one sequence with the separator between them, all
token types 0, as students are distilled. Where words are scored the head reads the first sub-token of each. The passed
model is not changed.

Shapes: B batch, T tokens, D hidden size, N labels, C outputs.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from trainables.models.encoder import architecture, hidden_states
from trainables.tasks.data import TaskData
from trainables.tasks.kind import Predictions, Terms
from trainables.tasks.protocols.features import mean_pool, word_places
from trainables.tasks.protocols.heads import Head
from trainables.tasks.sampling import generator
from trainables.text.batching import length_batches, padded
from trainables.text.ragged import Ragged

LEAST_EPOCHS, MOST_EPOCHS = 3, 30
LEAST_STEPS = 600
RATE_TIMES_WIDTH = 0.06
"""Peak learning rate = this / hidden size: 7.8e-5 at 768; narrow encoders need more."""
HELD_OUT = 0.1
"""Of train, on which learning rates are compared."""
HEAD_RATE_FACTOR = 10.0
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01
GRADIENT_CLIP = 1.0
DROPOUT = 0.1
"""Students are distilled without dropout; a few thousand labelled texts need it."""
EVALUATION_TOKENS = 4096


class Classifier(nn.Module):
    """An encoder with a linear head on its last layer: on the mean over valid positions, or on chosen positions."""

    def __init__(self, encoder: PreTrainedModel, hidden_size: int, num_outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(hidden_size, num_outputs)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, places: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Logits BC, or one row for each of `places` (row, position)."""
        last_BTD = hidden_states(self.encoder, ids_BT, mask_BT)[-1]
        return self.head(self.dropout(mean_pool(last_BTD, mask_BT) if places is None else last_BTD[places]))


def finetune(
    model: PreTrainedModel,
    task: TaskData,
    terms: Terms,
    *,
    head: Head,
) -> Callable[[str], Predictions]:
    """Train a copy on the task's train split; it predicts as it is after the last epoch."""
    rate = chosen_rate(model, task, terms, head)
    classifier = fitted(model, task, terms, head, rate)
    return lambda split: Predictions(predict(classifier, task, head, split))


def chosen_rate(model: PreTrainedModel, task: TaskData, terms: Terms, head: Head) -> float:
    """The learning rate; of several, the best on a tenth of train that is held out for the choice."""
    rates = terms.recipe.learning_rates or (RATE_TIMES_WIDTH / architecture(model.config).hidden_size,)
    if len(rates) == 1:
        return rates[0]
    train_split = task.splits["train"]
    order = generator(terms.seed, "learning rate").permutation(len(train_split))
    count = max(1, round(HELD_OUT * len(order)))
    held_out, kept = train_split.take(np.sort(order[:count])), train_split.take(np.sort(order[count:]))
    part = dataclasses.replace(task, splits={"train": kept, "held_out": held_out})

    def score(rate: float) -> float:
        answers = predict(fitted(model, part, terms, head, rate), part, head, "held_out")
        return terms.metric.sign * terms.metric.function(held_out.labels, answers, task.label_names)

    return max(rates, key=score)


def fitted(model: PreTrainedModel, task: TaskData, terms: Terms, head: Head, learning_rate: float) -> Classifier:
    """A trained copy of the model with its head."""
    width = architecture(model.config).hidden_size
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    batch_size = terms.recipe.batch_size
    epochs = terms.recipe.epochs or usual_epochs(len(task.splits["train"]), batch_size)
    with torch.random.fork_rng(devices):
        torch.manual_seed(terms.seed)
        classifier = Classifier(copy.deepcopy(model), width, head.num_outputs(len(task.label_names))).to(device)
        train(classifier, task, head, terms.seed, epochs, batch_size, learning_rate)
    return classifier


def usual_epochs(examples: int, batch_size: int) -> int:
    """3, or as many as LEAST_STEPS take, at most MOST_EPOCHS."""
    steps = -(-examples // batch_size)
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, -(-LEAST_STEPS // steps)))


def train(
    classifier: Classifier, task: TaskData, head: Head, seed: int, epochs: int, batch_size: int, learning_rate: float
) -> None:
    """Fit encoder and head to the labels of train."""
    for module in classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = DROPOUT
    classifier.requires_grad_(True).train()
    device = next(classifier.parameters()).device
    labels, texts, words = (
        task.splits["train"].labels,
        sequences(task, "train"),
        task.splits["train"].views.get("words"),
    )
    targets = torch.from_numpy(head.targets(np.array(labels.values))).to(device)
    decayed = [p for p in classifier.encoder.parameters() if p.ndim > 1]
    kept = [p for p in classifier.encoder.parameters() if p.ndim <= 1]
    optimizer = AdamW(
        [
            {"params": decayed, "weight_decay": WEIGHT_DECAY},
            {"params": kept, "weight_decay": 0.0},
            {"params": classifier.head.parameters(), "weight_decay": 0.0, "lr": HEAD_RATE_FACTOR * learning_rate},
        ],
        lr=learning_rate,
    )
    num_steps = epochs * -(-len(texts) // batch_size)
    num_warmup = max(1, round(WARMUP_SHARE * num_steps))
    num_decay = num_steps - num_warmup + 1
    schedule = LambdaLR(optimizer, lambda step: min((step + 1) / num_warmup, (num_steps - step) / num_decay))
    for epoch in range(epochs):
        for rows in shuffled_batches(len(texts), batch_size, generator(seed, f"epoch {epoch}")):
            ids_BT, mask_BT = padded([texts[row] for row in rows], task.pad_id)
            places = None if words is None else word_places(words, rows)
            logits_NC = classifier(ids_BT.to(device), mask_BT.to(device), places)
            loss = head.loss(logits_NC, targets[torch.from_numpy(labels.indices(rows)).to(device)])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(classifier.parameters(), GRADIENT_CLIP)
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def predict(classifier: Classifier, task: TaskData, head: Head, split: str) -> np.ndarray:
    """What the head says for each label, in their order."""
    classifier.eval()
    device = next(classifier.parameters()).device
    texts, data = sequences(task, split), task.splits[split]
    words = data.views.get("words")
    found, where = [], []
    for rows in length_batches(texts.lengths(), EVALUATION_TOKENS):
        ids_BT, mask_BT = padded([texts[row] for row in rows], task.pad_id)
        places = None if words is None else word_places(words, rows)
        found.append(head.predictions(classifier(ids_BT.to(device), mask_BT.to(device), places)))
        where.append(data.labels.indices(rows))
    return np.concatenate(found)[np.argsort(np.concatenate(where))]


def sequences(task: TaskData, split: str) -> Ragged:
    """What the encoder reads: the text, or both texts of a pair in one sequence."""
    views = task.splits[split].views
    return views.get("pair", views["text"])


def shuffled_batches(count: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """All indices once, in random order."""
    order = rng.permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]
