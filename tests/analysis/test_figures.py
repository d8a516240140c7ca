"""What the figures draw: the right points in each view, and bounded numbers of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from analysis import figures, front_figure
from analysis.pareto import front
from analysis.style import GREY, colours_of, evenly, tick
from analysis.table import load


def drawn(figure, view: int) -> list:
    """The traces that one button of the front figure shows, legend entries apart."""
    visible = figure.layout.updatemenus[0].buttons[view].args[0]["visible"]
    return [trace for trace, shown in zip(figure.data, visible, strict=True) if shown and trace.x[0] is not None]


def test_each_view_draws_every_measured_trial_once_and_joins_its_own_front(fake: SimpleNamespace) -> None:
    rows = fake.rows(60)
    rows[3]["latency_p50_ms"] = None
    study = load(fake.study(rows))
    figure = front_figure.front_figure(study)
    for view, (name, column) in enumerate(
        [("parameters", "parameters"), ("latency_ms", "latency_p50_ms"), ("flops", "flops_per_token")]
    ):
        traces = drawn(figure, view)
        line = next(trace for trace in traces if trace.mode == "lines")
        members = front(study, ["quality", name])
        assert list(line.x) == members[column].tolist() and list(line.y) == members["quality"].tolist()
        assert (np.diff(line.x) > 0).all() and (np.diff(line.y) > 0).all()
        points = sum(len(trace.x) for trace in traces if trace.hovertext is not None)
        assert points == study.finished[column].notna().sum()
        assert any(list(trace.y) == [1] and trace.marker.symbol == "star" for trace in traces)


def test_the_first_view_is_the_first_cost_of_the_study(fake: SimpleNamespace) -> None:
    figure = front_figure.front_figure(load(fake.study(fake.rows(20), objectives=["quality", "flops"])))
    assert figure.layout.updatemenus[0].buttons[0].label == "FLOPs"
    assert figure.layout.xaxis.title.text == "forward FLOPs per token"
    assert [trace.visible for trace in figure.data] == list(figure.layout.updatemenus[0].buttons[0].args[0]["visible"])


def test_hover_shows_the_whole_configuration(fake: SimpleNamespace) -> None:
    figure = front_figure.front_figure(
        load(fake.study([fake.row(0, 0.5, method="hs", mapping="uniform", temperature=None)]))
    )
    (hover,) = next(trace.hovertext for trace in figure.data if trace.hovertext)
    for words in (
        "3x192 by hs",
        "trial 0",
        "quality 0.500",
        "mapping: uniform",
        "learning rate: 0.001",
        "batch size: 16",
    ):
        assert words in hover
    assert "temperature" not in hover


def test_large_studies_draw_a_bounded_number_of_points_and_curves(fake: SimpleNamespace) -> None:
    rows = [fake.row(t, float(q)) for t, q in enumerate(np.random.default_rng(0).uniform(0, 0.9, 4000))]
    folder = fake.study(rows, per_part=1000)
    fake.reports(folder, rows[:200], points=400, per_part=200)
    study = load(folder)
    points = sum(len(trace.x) for trace in front_figure.front_figure(study).data if trace.hovertext is not None)
    assert points <= 3 * (front_figure.MAX_DOMINATED + 1)
    for figure in figures.learning_curves(study, front(study)).values():
        assert len(figure.data) <= figures.MAX_CURVES + figures.MAX_FRONT_CURVES
        assert all(len(trace.x) <= figures.MAX_CURVE_POINTS for trace in figure.data)


def test_evenly_keeps_the_ends(fake: SimpleNamespace) -> None:
    trials = load(fake.study([fake.row(t, 0.1) for t in range(10)])).trials
    assert evenly(trials, 4)["trial"].tolist() == [0, 3, 6, 9]
    assert evenly(trials, 20) is trials


def test_a_colour_belongs_to_a_method_and_runs_out_gracefully() -> None:
    colours = colours_of([f"m{i}" for i in range(10)])
    assert len({colours[f"m{i}"] for i in range(7)}) == 7 and colours["m9"] == GREY


def test_time_by_phase_adds_up(fake: SimpleNamespace) -> None:
    rows = [
        fake.row(0, 0.5, train_s=10.0, evaluate_s=4.0, profile_s=1.0, start_up_s=None),
        fake.row(1, 0.4, train_s=20.0),
    ]
    bars = {bar.name: list(bar.x) for bar in figures.time_figure(load(fake.study(rows))).data}
    assert bars["training"] == [15.0] and bars["evaluation"] == [4.0] and bars["start-up"] == [0.3]


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (20, "20"), (5000, "5k"), (1e7, "10M"), (2e9, "2G")])
def test_ticks_are_written_short(value, text):
    assert tick(value) == text
