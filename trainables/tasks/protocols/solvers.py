"""Linear layers on features, fitted: logistic regression by L-BFGS, ridge regression in closed form.

The objectives are those of scikit-learn's models of the same names, without what these load and without their double
precision in every step: products are in float32, sums and the search in float64.

Shapes: N examples, F features, C outputs: one for numbers and for two classes, else one for each class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

MAX_ITERATIONS = 200
TOLERANCE = 1e-3
"""Of the largest part of the gradient of the mean loss."""
NO_CLASSES = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Layer:
    """What was fitted: x_NF @ weights_FC + bias_C, float32. classes: their ids; none where numbers are predicted."""

    weights_FC: np.ndarray
    bias_C: np.ndarray
    classes: np.ndarray
    converged: bool


Solver = Callable[[np.ndarray, np.ndarray, float], Layer]
"""(features NF float32, each of mean 0; labels N; strength C) -> a layer."""


def logistic(x_NF: np.ndarray, labels_N: np.ndarray, strength: float) -> Layer:
    """Logistic regression: the mean loss plus |weights|^2 / (2 C N); of two classes one output, for the second."""
    classes, target_N = np.unique(labels_N, return_inverse=True)
    num_rows, num_outputs = len(x_NF), len(classes) if len(classes) > 2 else 1
    x_NF, decay = np.ascontiguousarray(x_NF, dtype=np.float32), 1.0 / (strength * num_rows)
    loss_of = losses if num_outputs > 1 else losses_of_two

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights_FC, bias_C = np.split(flat.reshape(-1, num_outputs), [-1])
        loss, slope_NC = loss_of(x_NF @ weights_FC.astype(np.float32) + bias_C.astype(np.float32), target_N)
        slopes_FC = (x_NF.T @ slope_NC) / num_rows + decay * weights_FC
        gradient = np.concatenate([slopes_FC, slope_NC.sum(0, dtype=np.float64, keepdims=True) / num_rows])
        return loss + decay / 2 * float(np.sum(weights_FC**2)), gradient.ravel()

    start = np.zeros((x_NF.shape[1] + 1) * num_outputs)
    options = {"maxiter": MAX_ITERATIONS, "maxls": 50, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps}
    found = minimize(objective, start, method="L-BFGS-B", jac=True, options=options)
    layer = found.x.reshape(-1, num_outputs).astype(np.float32)
    return Layer(layer[:-1], layer[-1], classes, bool(found.success))


def losses(outputs_NC: np.ndarray, target_N: np.ndarray) -> tuple[float, np.ndarray]:
    """(mean cross entropy, its slope by each output, times N)."""
    rows = np.arange(len(outputs_NC))
    outputs_NC = outputs_NC - outputs_NC.max(1, keepdims=True)
    slope_NC = np.exp(outputs_NC)
    total_N1 = slope_NC.sum(1, keepdims=True)
    loss = float(np.mean(np.log(total_N1[:, 0]) - outputs_NC[rows, target_N], dtype=np.float64))
    slope_NC /= total_N1
    slope_NC[rows, target_N] -= 1.0
    return loss, slope_NC


def losses_of_two(outputs_N1: np.ndarray, target_N: np.ndarray) -> tuple[float, np.ndarray]:
    """The same of two classes, by the one output."""
    target_N1 = target_N[:, None].astype(np.float32)
    loss = float(np.mean(np.logaddexp(0.0, outputs_N1) - target_N1 * outputs_N1, dtype=np.float64))
    return loss, (0.5 + 0.5 * np.tanh(0.5 * outputs_N1)) - target_N1


def ridge(x_NF: np.ndarray, labels_N: np.ndarray, strength: float) -> Layer:
    """Ridge regression: the squared loss plus |weights|^2 / C."""
    x_NF, mean = x_NF.astype(np.float64), float(np.mean(labels_N))
    square_FF = x_NF.T @ x_NF + np.eye(x_NF.shape[1]) / strength
    weights_F = np.linalg.solve(square_FF, x_NF.T @ (labels_N - mean))
    return Layer(weights_F[:, None].astype(np.float32), np.array([mean], dtype=np.float32), NO_CLASSES, True)
