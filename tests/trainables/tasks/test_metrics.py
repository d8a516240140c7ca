"""Metrics against closed forms; shares of the teacher's gain."""

import numpy as np
import pytest

from spaces.errors import SpecError
from trainables.tasks.metrics import accuracy, check_gap, f1, matthews, recovered, spearman, worst_language
from trainables.text.ragged import one_each


def test_metrics_against_closed_forms():
    targets, answers = np.array([1, 1, 1, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 1])
    assert accuracy(targets, answers) == pytest.approx(4 / 6)
    assert f1(one_each(targets), answers, ("no", "yes")) == pytest.approx(2 / 3)
    assert f1(one_each(targets), answers, ("no", "yes", "never said")) == pytest.approx(2 / 3)
    assert f1(one_each(targets), np.array([1, 1, 1, 0, 0, 2]), ("a", "b", "c")) == pytest.approx((1 + 0.8 + 0) / 3)
    assert matthews(targets, answers) == pytest.approx((2 * 2 - 1 * 1) / 9)
    assert spearman(np.arange(5.0), np.arange(5.0) ** 3) == pytest.approx(1.0)
    assert spearman(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1.0)
    assert spearman(np.arange(5.0), np.zeros(5)) == 0.0


def test_share_recovered_and_the_gap():
    assert recovered(0.67, 0.81, 0.67) == 0.0
    assert recovered(0.81, 0.81, 0.67) == 1.0
    assert recovered(0.74, 0.81, 0.67) == pytest.approx(0.5)
    check_gap("sst2", 0.81, 0.67)
    with pytest.raises(SpecError, match=r"task 'sst2': teacher scores 0.680, hardly above its floor 0.670"):
        check_gap("sst2", 0.68, 0.67)
    with pytest.raises(SpecError):
        check_gap("sst2", float("nan"), 0.67)


def test_the_worst_language_is_the_smallest_mean_over_its_tasks():
    shares = {"pos_en": 0.9, "nli_en": 0.1, "pos_de": 0.6, "nli_de": 0.2, "other": -1.0}
    languages = {"pos_en": "en", "nli_en": "en", "pos_de": "de", "nli_de": "de"}
    assert worst_language(shares, languages, {}) == ("de", pytest.approx(0.4))
    assert worst_language(shares, languages, {"nli_en": 3.0}) == ("en", pytest.approx(0.3))
    assert worst_language({"a": 0.5, "b": 0.5}, {"a": "zh", "b": "ar"}, {}) == ("ar", 0.5)
