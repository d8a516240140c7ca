"""The noise between seeds: its estimate, the coverage of its intervals, and what follows for front and pick."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_studies import write_study

from analysis import Study, load
from analysis.page.text import noise_text
from analysis.selection.front import front
from analysis.selection.picking import pick
from analysis.study import noise
from analysis.study.noise import mean_interval, pooled_noise, student_t

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


@pytest.fixture
def confirmed(fake: SimpleNamespace) -> str:
    """A small student with three seeds, a larger one hardly better with one, and a large one far better with two."""
    small = [fake.row(t, q, (2, 128), seed=t, learning_rate=1e-3) for t, q in ((0, 0.60), (1, 0.64), (2, 0.62))]
    middle = [fake.row(3, 0.64, (3, 192), learning_rate=2e-3)]
    large = [fake.row(t, q, (6, 384), seed=t, learning_rate=3e-3) for t, q in ((4, 0.90), (5, 0.94))]
    return fake.study([*small, *middle, *large])


def test_students_are_configurations_with_means_over_seeds(confirmed: str) -> None:
    students = load(confirmed).students.set_index("trial")
    assert students.index.tolist() == [0, 3, 4] and students["seeds"].tolist() == [3, 1, 2]
    assert students["quality"].tolist() == pytest.approx([0.62, 0.64, 0.92])
    assert students["recovered_pairs"].tolist() == pytest.approx([0.62, 0.64, 0.92])
    widths = (students["high"] - students["low"]).tolist()
    assert widths[1] > widths[2] > widths[0]  # fewer seeds, wider


def students_of(study: Study) -> pd.Series:
    """The first student."""
    return study.students.iloc[0]


def test_a_front_member_that_noise_may_have_put_there_is_marked(
    confirmed: str, fake: SimpleNamespace, tmp_path: Path
) -> None:
    study = load(confirmed)
    members = front(study).set_index("trial")
    assert members.index.tolist() == [0, 3, 4] and members["rivals"].tolist() == [0, 1, 0]
    assert "1 on the front may be there by chance" in noise_text(study)
    assert "standard deviation, from 2 configurations" in noise_text(study)
    alone = load(str(write_study(tmp_path / "alone", [fake.row(0, 0.5), fake.row(1, 0.51, (6, 384))])))
    assert front(alone)["rivals"].tolist() == [0, 0] and "is unknown" in noise_text(alone)
    assert "3 seeds of 5 students (10 more trials)" in noise_text(alone)
    widths = [(each["share_high"] - each["share_low"]) for each in (students_of(alone), students_of(study))]
    assert widths[1] > widths[0] > 0  # the number of examples counts alone, the noise between seeds adds to it


def test_a_confirmed_student_is_preferred_within_noise(confirmed: str, fake: SimpleNamespace) -> None:
    study = load(confirmed)
    picked = pick(study, max_parameters=8e6)
    assert picked.trial["trial"] == 0 and picked.runner_up is not None and picked.runner_up["trial"] == 3
    assert "3 seeds" in picked.reason and "trial 3, with one, is better by no more than noise" in picked.reason
    assert pick(study, max_parameters=50e6).trial["trial"] == 4
    assert picked.trade["quality"] == pytest.approx(0.02) and picked.trade["parameters"] > 0
