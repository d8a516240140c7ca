"""The example of the Python interface runs, and what it promises holds."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import plotly.graph_objects as go
import pytest

import analysis
from analysis.figures.figures import FIGURES
from spaces.errors import SpecError

EXAMPLE = Path(__file__).parents[2] / "docs" / "reading_a_study.py"


def test_the_example_runs(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    folder = fake.study(fake.rows(30))
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), folder])
    found = runpy.run_path(str(EXAMPLE))
    printed = capsys.readouterr().out
    assert isinstance(found["figure"], go.Figure) and f"trial {found['picked'].trial['trial']}" in printed
    assert found["front"]["trial"].tolist() == analysis.load(folder).front()["trial"].tolist()
    assert "every configuration ran with one seed" in printed and "progress" in printed


def test_every_figure_is_drawn_by_name(fake: SimpleNamespace) -> None:
    rows = fake.rows(30)
    folder = fake.study(rows)
    fake.reports(folder, rows)
    study = analysis.load(folder)
    drawn = {name: study.figure(name) for name in FIGURES}
    assert {name for name, figure in drawn.items() if figure is None} == {"rungs", "decisions"}  # it had no rungs
    assert all(isinstance(figure, go.Figure) for figure in drawn.values() if figure is not None)
    assert study.figure("front", cost="flops").layout.xaxis.title.text == "FLOPs per token"
    with pytest.raises(SpecError, match="Did you mean 'front'"):
        study.figure("frnt")
