"""What follows from the noise between seeds for students, front and pick."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from fake_studies import write_study

from analysis import Study, load
from analysis.page.text import noise_text
from analysis.selection.front import front
from analysis.selection.picking import pick


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
    assert "3 seeds of 2 students (4 more trials)" in noise_text(alone)
    starts = load(str(write_study(tmp_path / "starts", [fake.row(0, 0.5, kept_tokens=0)])))
    assert "a start has no seeds to be confirmed by" in noise_text(starts) and "stillhouse" not in noise_text(starts)
    widths = [(each["share_high"] - each["share_low"]) for each in (students_of(alone), students_of(study))]
    assert widths[1] > widths[0] > 0  # the number of examples counts alone, the noise between seeds adds to it


def test_a_confirmed_student_is_preferred_within_noise(confirmed: str, fake: SimpleNamespace) -> None:
    study = load(confirmed)
    picked = pick(study, max_parameters=8e6)
    assert picked.trial["trial"] == 0 and picked.runner_up is not None and picked.runner_up["trial"] == 3
    assert "3 seeds" in picked.reason and "trial 3, with one, is better by no more than noise" in picked.reason
    assert pick(study, max_parameters=50e6).trial["trial"] == 4
    assert picked.trade["quality"] == pytest.approx(0.02) and picked.trade["parameters"] > 0
