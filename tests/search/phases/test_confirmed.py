"""What a card says of a configuration over its seeds is what the page says."""

import pytest
from fake_studies import TASKS, finished_row, write_study

from analysis import load
from search.phases.confirmed import known_of
from search.phases.exporting import place_on_front
from spaces.records.rows import TrialRow


def read(folder):
    study = load(str(folder))
    return study, [TrialRow.from_columns(row, list(TASKS)) for row in study_rows(study)]


def study_rows(study):
    wanted = study.trials.drop(columns="architecture")
    return [{key: value for key, value in row.items() if value == value} for row in wanted.to_dict("records")]


def test_the_mean_and_its_interval_are_those_of_the_page(tmp_path):
    confirmed = [finished_row(t, q, seed=t, learning_rate=1e-3) for t, q in enumerate((0.60, 0.66, 0.61))]
    study, rows = read(write_study(tmp_path / "study", [*confirmed, finished_row(3, 0.9, (6, 384))]))
    for trial in (0, 3):
        known = known_of(rows[trial], rows, study.meta)
        own = study.students.set_index("trial").loc[trial]
        assert known.seeds == own["seeds"] and known.quality == pytest.approx(own["quality"])
        assert [known.low, known.high] == pytest.approx([own["share_low"], own["share_high"]])
        assert known.noise_known


def test_one_of_one_is_told_otherwise(tmp_path):
    study, rows = read(write_study(tmp_path / "study", [finished_row(0, 0.5)]))
    assert place_on_front(rows[0], rows, study.meta.aim) == ""
    _, two = read(write_study(tmp_path / "two", [finished_row(0, 0.5), finished_row(1, 0.4)]))
    assert place_on_front(two[0], two, study.meta.aim).startswith("No other student of its study is on the front of")
    known = known_of(rows[0], rows, study.meta)
    assert not known.noise_known and known.low < 0.5 < known.high
