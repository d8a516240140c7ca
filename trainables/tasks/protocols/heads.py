"""What a linear layer on features says: one of several classes, or a number."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from trainables.tasks.protocols.solvers import Solver, logistic, ridge


@dataclass(frozen=True)
class Head:
    """One way to answer, for the probe and for fine-tuning.

    linear: how the probe fits a linear layer. The others are for fine-tuning: the number of outputs by that of class
    names; what the loss is told, from the labels of train; the loss of (logits NC, those targets N); predictions, from
    logits NC.
    """

    linear: Solver
    num_outputs: Callable[[int], int]
    targets: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[Tensor, Tensor], Tensor]
    predictions: Callable[[Tensor], np.ndarray]


def standardised(targets: np.ndarray) -> np.ndarray:
    """By their own statistics (at least two differ: prepare_task sees to it), float32."""
    return ((targets - targets.mean()) / targets.std()).astype(np.float32)


CLASSES = Head(
    linear=logistic,
    num_outputs=lambda num_names: num_names,
    targets=np.asarray,
    loss=nn.functional.cross_entropy,
    predictions=lambda logits_NC: logits_NC.argmax(-1).cpu().numpy(),
)
NUMBERS = Head(
    linear=ridge,
    num_outputs=lambda num_names: 1,
    targets=standardised,
    loss=lambda logits_N1, targets_N: nn.functional.mse_loss(logits_N1.squeeze(-1), targets_N),
    predictions=lambda logits_N1: logits_N1.squeeze(-1).float().cpu().numpy(),
)
