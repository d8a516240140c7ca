"""What is expected of axes: weights of configurations that fade, and what is refused."""

import math

import numpy as np
import pytest
import toy

from spaces.space.prior import LASTING, read_prior

SPEC = toy.SPEC.replace("[[tasks]]", "learning_rate = {low = 1e-4, high = 1e-2, log = true}\n[[tasks]]", 1)
_, SPACE = toy.read(SPEC)
CONFIGS = [{"method": method, "num_layers": layers, "hidden_size": 96, "num_heads": 3, "intermediate_size": 384,
            "learning_rate": rate} for method, layers, rate in (("hs", 2, 1e-3), ("mha", 2, 1e-3), ("hs", 3, 3e-3))
           ]  # fmt: skip


def test_weights_are_products_that_fade():
    tables = {"method": {"hs": 4.0}, "num_layers": {"3": 2.0}, "learning_rate": {"around": 1e-3, "within": 3.0}}
    prior, problems = read_prior(SPACE, tables)
    expected = np.array([4.0, 1.0, 4.0 * 2.0 * math.exp(-0.5)])
    assert not problems
    np.testing.assert_allclose(prior.weights(CONFIGS, int(LASTING)), expected / expected.max())
    np.testing.assert_allclose(prior.weights(CONFIGS, 5 * int(LASTING)), (expected / expected.max()) ** 0.2)
    assert prior.weights(CONFIGS, 10**6).min() > 0.999
    rng = np.random.default_rng(0)
    counts = np.bincount([prior.at_random(CONFIGS, rng) for _ in range(4000)]) / 4000
    np.testing.assert_allclose(counts, expected / expected.sum(), atol=0.03)
    assert read_prior(SPACE, {})[0].weights(CONFIGS, 1).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"metod": {"hs": 2.0}}, r"\[search.prior\] metod: unknown axis. Did you mean 'method'\?"),
        ({"method": {"hss": 2.0}}, "'hss' is not offered. Did you mean 'hs'\\? Offered: hs, mha"),
        ({"method": {"hs": 0.0}}, "a weight must be above 0, got 0; leave the value out of"),
        ({"learning_rate": {"0.001": 2.0}}, r"is a range: write \{ around = 0.0001, within = 3 \}"),
        ({"learning_rate": {"around": 0.1, "within": 3.0}}, "0.1 is outside of 0.0001 to 0.01; nearest 0.01"),
        ({"learning_rate": {"around": 1e-3, "within": 1.0}}, "within must be times the centre, above 1, got 1"),
    ],
    ids=str,
)
def test_what_is_refused(tables, problem):
    _, problems = read_prior(SPACE, tables)
    assert len(problems) == 1
    with pytest.raises(ValueError, match=problem):
        raise ValueError(problems[0])


def test_numbers_may_be_written_in_any_way():
    _, space = toy.read(toy.SPEC.replace("[[tasks]]", "learning_rate = [0.001, 0.002]\n[[tasks]]", 1))
    prior, problems = read_prior(space, {"learning_rate": {"1e-3": 5.0}})
    assert not problems and prior.axes["learning_rate"].weight(0.001) == 5.0
