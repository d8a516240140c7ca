"""Fitted linear layers against scikit-learn's models of the same objectives."""

import numpy as np
import pytest

from trainables.tasks.protocols import solvers
from trainables.tasks.protocols.solvers import logistic, ridge


def drawn(rows=300, width=20, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, width)).astype(np.float32)
    return x - x.mean(0), x @ rng.normal(size=(width, 4)) + rng.normal(size=(rows, 4))


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_logistic_regression(num_classes, strength, monkeypatch):
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(solvers, "TOLERANCE", 1e-5)
    x, outputs = drawn()
    labels = 3 * outputs[:, :num_classes].argmax(1) + 1
    found, known = logistic(x, labels, strength), LogisticRegression(C=strength, max_iter=500, tol=1e-6).fit(x, labels)
    assert found.converged and found.classes.tolist() == known.classes_.tolist()
    np.testing.assert_allclose(found.weights_FC.T, known.coef_, atol=2e-3)
    np.testing.assert_allclose(found.bias_C, known.intercept_, atol=2e-3)


def test_ridge_regression():
    from sklearn.linear_model import Ridge

    x, outputs = drawn()
    found, known = ridge(x, outputs[:, 0] + 5, 0.1), Ridge(alpha=10.0).fit(x, outputs[:, 0] + 5)
    np.testing.assert_allclose(found.weights_FC[:, 0], known.coef_, atol=1e-5)
    np.testing.assert_allclose(found.bias_C, [known.intercept_], rtol=1e-5)


def test_outputs_of_any_size_have_a_loss():
    huge, target = np.array([[3e4, -3e4, 0.0], [0.0, 3e4, -3e4]], dtype=np.float32), np.array([0, 1])
    for loss, slope in (solvers.losses(huge, target), solvers.losses_of_two(huge[:, :1], np.array([1, 0]))):
        assert np.isfinite(loss) and np.isfinite(slope).all()
