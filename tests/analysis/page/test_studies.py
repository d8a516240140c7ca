"""Several studies on one page, and whether they may be compared."""

from types import SimpleNamespace

import pytest
from fake_studies import write_study

from analysis import load
from analysis.page.studies import differences, fronts_figure, names_of, several_page, summary
from spaces.errors import SpecError


def test_two_studies_on_one_page(fake: SimpleNamespace, tmp_path) -> None:
    worse = write_study(tmp_path / "worse", [fake.row(0, 0.3), fake.row(1, 0.5, (6, 384))], name="worse")
    better = write_study(tmp_path / "better", [fake.row(0, 0.6), fake.row(1, 0.8, (6, 384))], name="<b>better</b>")
    studies = [load(str(worse)), load(str(better))]
    assert summary(studies).startswith("The front of <b>better</b> dominates most")
    assert differences(studies) == []
    page = several_page(studies)
    assert "<b>better</b>" not in page and "&lt;b&gt;better&lt;/b&gt;" in page
    for title in ("The fronts", "Methods", "Was each search still improving?"):
        assert title in page
    figure = fronts_figure(studies)
    shown = [trace for trace in figure.data if trace.visible]
    assert [list(trace.y) for trace in shown] == [[0.3, 0.5], [0.6, 0.8]]


def test_what_does_not_compare_is_said(fake: SimpleNamespace, tmp_path) -> None:
    first = load(str(write_study(tmp_path / "a", [fake.row(0, 0.5)])))
    teacher = fake.teacher | {"digest": "other"}
    second = load(str(write_study(tmp_path / "b", [fake.row(0, 0.5)], teacher=teacher, train_tokens=5)))
    found = " ".join(differences([first, second]))
    assert summary([first, second]) == "2 studies with different teachers, side by side."
    assert "their teachers" in found and "tokens per trial" in found and "machine" not in found
    assert names_of([first, second]) == [f"quick ({tmp_path}/a)", f"quick ({tmp_path}/b)"]
    with pytest.raises(SpecError, match="two studies or more"):
        several_page([first])


def test_a_study_without_results_is_compared_as_empty(fake: SimpleNamespace, tmp_path) -> None:
    empty = load(str(write_study(tmp_path / "empty", [], name="empty")))
    full = load(str(write_study(tmp_path / "full", [fake.row(0, 0.5)], name="full")))
    assert "No trial has ended yet" in several_page([empty, full])
