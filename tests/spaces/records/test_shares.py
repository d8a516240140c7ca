"""Shares of a gap: their mean, and standard errors against simulation."""

import numpy as np
import pytest

from spaces.records.shares import Gap, mean_error, mean_share, standard_error


def test_a_mean_bounds_each_share_and_weighs_it():
    shares = {"tickets": 0.15, "topics": 1.4, "pairs": -7.0}
    assert mean_share(shares, {}) == pytest.approx((0.15 + 1 - 1) / 3)
    assert mean_share(shares, {"tickets": 3.0}) == pytest.approx((3 * 0.15 + 1 - 1) / 5)
    assert mean_error({"a": 0.3, "b": 0.4}, {"b": 2.0}) == pytest.approx(np.hypot(0.3, 0.8) / 3)
    assert np.isnan(mean_error({"a": 0.3, "b": float("nan")}, {}))


def test_standard_errors_are_the_spread_of_simulated_scores():
    rng, examples = np.random.default_rng(0), 200
    accuracies_R = rng.binomial(examples, 0.8, 4000) / examples
    assert standard_error("accuracy", 0.8, examples) == pytest.approx(accuracies_R.std(), rel=0.05)
    true = 0.6
    drawn_RN2 = rng.multivariate_normal([0, 0], [[1, true], [true, 1]], (2000, examples))
    ranks_RN2 = drawn_RN2.argsort(axis=1).argsort(axis=1)
    found_R = [np.corrcoef(ranks_N2.T)[0, 1] for ranks_N2 in ranks_RN2]
    assert standard_error("spearman", float(np.mean(found_R)), examples) == pytest.approx(np.std(found_R), rel=0.08)
    assert np.isnan(standard_error("accuracy", 0.8, 0)) and np.isnan(standard_error("loss", 3.2, 100))


def test_the_error_of_a_share_is_that_of_independent_scores():
    rng, gap = np.random.default_rng(0), Gap("accuracy", 400, teacher=0.8, floor=0.5)
    student_R, teacher_R, floor_R = (rng.binomial(400, p, 8000) / 400 for p in (0.7, 0.8, 0.5))
    shares_R = (student_R - floor_R) / (teacher_R - floor_R)
    assert gap.share_error(0.7) == pytest.approx(shares_R.std(), rel=0.05)


def test_a_gap_within_noise_says_how_many_examples_it_needs():
    gap = Gap("accuracy", 200, teacher=0.56, floor=0.49)
    assert gap.is_weak and gap.in_errors == pytest.approx(0.07 / np.hypot(0.0351, 0.03535), rel=1e-3)
    assert not Gap("accuracy", gap.examples_needed, 0.56, 0.49).is_weak
    assert Gap("accuracy", gap.examples_needed - 10, 0.56, 0.49).is_weak
    assert f"about {gap.examples_needed:,} dev examples" in gap.warning("tickets", "dev")
    unknown = Gap("accuracy", 0, 0.56, 0.55)
    assert not unknown.is_weak and unknown.warning("tickets", "dev") == ""
