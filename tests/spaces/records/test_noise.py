"""The noise between seeds: its estimate, and the coverage of its intervals."""

import numpy as np
import pytest

from spaces.records import noise
from spaces.records.noise import mean_interval, pooled_noise, student_t

DRAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "skewed": lambda rng, size: rng.exponential(size=size) - 1,
    "heavy": lambda rng, size: rng.standard_t(5, size=size),
}


@pytest.mark.parametrize(
    ("groups", "seeds", "kind"),
    [(1, 2, "normal"), (1, 3, "normal"), (1, 5, "normal"), (6, 2, "normal"), (5, 3, "normal"), (5, 3, "skewed"),
     (8, 3, "heavy"), (1, 30, "normal")],
)  # fmt: skip
def test_intervals_cover_the_truth_as_often_as_they_say(
    groups: int, seeds: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "RESAMPLES", 500)
    rng, hits, single_hits, repeats = np.random.default_rng([groups, seeds]), 0, 0, 400
    for _ in range(repeats):
        values = DRAWS[kind](rng, (groups, seeds))
        estimate = pooled_noise(values)
        low, high = estimate.interval(values[0].mean(), seeds)
        hits += low <= 0 <= high
        alone = float(DRAWS[kind](rng, 1)[0])  # another configuration, with one seed
        low, high = estimate.interval(alone, 1)
        single_hits += low <= 0 <= high
    assert 0.90 <= hits / repeats <= 0.985
    assert 0.89 <= single_hits / repeats <= 0.985


def test_the_pooled_deviation_in_closed_form() -> None:
    estimate = pooled_noise([np.array([1.0, 3.0]), np.array([0.0, 0.0, 3.0]), np.array([7.0]), np.array([np.nan, 2.0])])
    assert estimate.std == pytest.approx(((2 + 6) / 3) ** 0.5)
    assert (estimate.dof, estimate.groups) == (3, 2)
    edge = student_t(3) * estimate.std * 2**0.5
    assert estimate.same(0, 1, np.array([edge - 1e-9, edge + 1e-9]), np.array([1, 1])).tolist() == [True, False]
    assert estimate.interval(0.5, 3) == estimate.interval(0.5, 3)


def test_nothing_repeated_gives_no_interval() -> None:
    estimate = pooled_noise([np.array([0.3]), np.array([0.5])])
    assert (
        not estimate.known
        and np.isnan(estimate.interval(0.3, 1)).all()
        and not estimate.same(0.3, 1, np.array([0.3]), np.array([1])).any()
    )
    assert np.isnan(mean_interval(np.array([0.4]))).all()
    assert mean_interval(np.full(5, 0.4)) == pytest.approx((0.4, 0.4))
