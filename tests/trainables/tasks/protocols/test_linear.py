"""What a fitted linear model says of each row."""

import numpy as np
import pytest
import torch

from trainables.tasks.protocols.heads import CLASSES, NUMBERS
from trainables.tasks.protocols.linear import fit_linear


def rows(num_classes, seed=0):
    """(features of 60 rows, their classes: 3, 5, 7 and so on)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(60, 8)).astype(np.float32), rng.integers(0, num_classes, 60) * 2 + 3


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_loss_of_a_class_is_its_cross_entropy(num_classes):
    x, labels = rows(num_classes)
    fit = fit_linear(CLASSES, x, labels, 0.1)
    logits = fit.outputs(x)
    if num_classes == 2:
        logits = np.concatenate([0 * logits, logits], axis=1)
    slow = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy((labels - 3) // 2), reduction="none"
    )
    np.testing.assert_allclose(fit.losses(x, labels), slow, rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_number_is_half_the_squared_error():
    x, labels = rows(9)
    fit = fit_linear(NUMBERS, x, labels.astype(np.float64), 1.0)
    assert fit.losses(x, labels) == pytest.approx((fit.predict(x) - labels) ** 2 / 2)


def test_a_class_that_was_never_seen_says_nothing():
    x, labels = rows(3)
    fit = fit_linear(CLASSES, x[labels != 5], labels[labels != 5], 0.1)
    losses = fit.losses(x, labels)
    assert (losses[labels == 5] == 0).all()
    assert (losses[labels != 5] > 0).all()
    assert fit.losses(x[:2], np.array([99, 1])).tolist() == [0, 0]
