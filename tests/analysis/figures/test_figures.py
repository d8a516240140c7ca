"""What the figures draw: the right points in each view, and bounded numbers of them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_studies import write_part

from analysis import load
from analysis.figures import figures, front_figure
from analysis.figures.points import pinnable
from analysis.figures.style import GREY, colours_of, cost_axis, count_ticks, evenly, tick
from analysis.page.report import content
from analysis.selection.front import front, knee
from analysis.study.scoring import protocols_text
from analysis.words import student_name
from spaces.records.columns import reports_columns
from spaces.records.costs import COSTS


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
    assert figure.layout.xaxis.title.text == "FLOPs per token"
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
    assert points <= len(COSTS) * (front_figure.MAX_DOMINATED + 1)
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
        fake.row(0, 0.5, train_s=10.0, teacher_s=4.0, evaluate_s=4.0, profile_s=1.0, start_up_s=None),
        fake.row(1, 0.4, train_s=20.0, teacher_s=None),
    ]
    bars = {bar.name: list(bar.x) for bar in figures.time_figure(load(fake.study(rows))).data}
    assert bars["teacher"] == [2.0] and bars["training without it"] == [13.0]
    assert bars["evaluation"] == [4.0] and bars["start-up"] == [0.3]


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (20, "20"), (5000, "5k"), (1e7, "10M"), (2e9, "2G")])
def test_ticks_are_written_short(value, text):
    assert tick(value) == text


def test_the_front_has_its_references_intervals_and_stopped_trials(fake: SimpleNamespace) -> None:
    small, large = (2, 128), (6, 384)
    rows = [fake.row(0, 0.3, small, method="mlm"), fake.row(1, 0.4, large, method="mlm")]
    rows += [fake.row(2 + seed, 0.6 + seed / 50, (4, 256), seed=seed, learning_rate=2e-3) for seed in range(3)]
    rows.append(fake.row(5, 0.2, (3, 192), status="stopped", rung=1, train_tokens=20_000))
    study = load(fake.study(rows))
    traces = drawn(front_figure.front_figure(study), 0)
    baseline = next(trace for trace in traces if trace.line.dash == "dash" and len(trace.x) > 1)
    sizes = [study.trials["parameters"][i] for i in (0, 1)]
    assert list(baseline.x) == [*sizes, fake.teacher["costs"]["parameters"]] and list(baseline.y) == [0.3, 0.4, 0.4]
    named = next(trace for trace in traces if trace.text is not None and "named shape" in (trace.hovertemplate or ""))
    assert "4x256" in named.text and set(named.y) == {0}
    by_trial = {trial: trace for trace in traces if trace.customdata is not None for trial in trace.customdata}
    assert sorted(by_trial) == [0, 1, 2, 5]  # three seeds are one student
    student = study.students.set_index("trial").loc[2]
    assert by_trial[2].error_y.array[0] == pytest.approx(student["high"] - student["quality"])
    assert "3 seeds" in by_trial[2].hovertext[0] and "95 %" in by_trial[2].hovertext[0]
    assert "when stopped after 20.0 k tokens" in by_trial[5].hovertext[0] and by_trial[5].marker.opacity == 0.5


def test_what_a_pin_shows(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.5, mapping="uniform", method="hs"), fake.row(1, 0.7, (4, 256), latency_p50_ms=None)]
    found = pinnable(load(fake.study(rows)), [0, 1, 99])
    assert set(found["rows"]) == {"0", "1"} and all(len(row) == len(found["labels"]) for row in found["rows"].values())
    shown = dict(zip(found["labels"], found["rows"]["0"], strict=True))
    assert shown["student"] == "3x192 by hs" and shown["mapping"] == "uniform" and shown["quality"] == "0.500"
    assert found["points"]["1"]["latency_p50_ms"] is None and found["points"]["1"]["quality"] == 0.7


def test_curves_by_rung_end_where_the_trial_ended(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.7), fake.row(1, 0.2, (6, 384), status="stopped", rung=1, train_tokens=20_000)]
    folder = Path(fake.study(rows))
    assert figures.rungs_figure(load(str(folder))) is None
    reports = [{"trial": t, "step": 1, "train_tokens": 20_000, "quality": q} for t, q in ((0, 0.4), (1, 0.2))]
    write_part(folder / "reports", "part-00000.parquet", reports_columns(), reports)
    figure = figures.rungs_figure(load(str(folder)))
    assert figure is not None
    assert [(list(t.x), list(t.y)) for t in figure.data] == [([20_000, 100_000], [0.4, 0.7]), ([20_000], [0.2])]
    assert [trace.line.dash for trace in figure.data] == ["solid", "dot"]


def test_progress_is_shown_over_trials_and_over_compute(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.3, train_s=60.0), fake.row(2, 0.7, train_s=120.0)]
    rows.insert(1, {"trial": 1, "status": "failed", "reason": "diverged", "train_s": 30.0})
    figure = figures.progress_figure(load(fake.study(rows)))
    trials, compute = figure.layout.updatemenus[0].buttons
    assert list(trials.args[0]["x"][0]) == [1, 2]
    assert list(compute.args[0]["x"][0]) == pytest.approx([1.0, 3.5])  # minutes, what failed included
    assert "minutes of training" in compute.args[1]["xaxis.title.text"]


def test_parallel_coordinates_hold_every_student_on_every_axis_that_varied(fake: SimpleNamespace) -> None:
    study = load(fake.study(fake.rows(60)))
    figure = figures.parallel_figure(study)
    (trace,) = figure.data
    labels = [dimension.label for dimension in trace.dimensions]
    assert labels[-1] == "quality" and {"method", "mapping", "num layers", "learning rate", "parameters"} <= set(labels)
    assert "batch size" not in labels and "num heads" not in labels  # one never varied, the other follows from width
    assert {len(dimension["values"]) for dimension in trace.dimensions} == {len(study.students)}
    plain = figures.parallel_width(figure)
    figure.data[0].dimensions[3].ticktext = ["x" * 30]
    assert figures.parallel_width(figure) > plain + 10 * 6 * (len(trace.dimensions) - 1)  # long ticks get their room
    mapping = next(dimension for dimension in trace.dimensions if dimension.label == "mapping")
    assert mapping.ticktext[0] == "-" and set(mapping.ticktext[1:]) == {"last", "uniform", "uniform_last"}


def test_names_on_the_front_keep_off_each_other_the_numbers_and_the_teacher() -> None:
    def places(*spots: tuple[float, float], others=(), teacher=None) -> list[str]:
        return front_figure._label_places(["3x192h6"] * len(spots), spots, others, teacher)

    assert places((0.5, 0.5)) == ["top left"]
    assert places((0.5, 0.5), others=[(0.4, 0.56)]) == ["bottom right"]  # a student off the front
    assert places((0.1, 0.5)) == ["bottom right"]  # the numbers of the axis
    assert places((0.5, 0.5), (0.55, 0.55)) == ["top left", "bottom right"]
    assert places((0.95, 0.95), teacher=(0.9, 1.0)) == ["bottom left"]
    assert places((0.05, 0.72), (0.1, 0.75), (0.2, 0.77)) == ["bottom right", "", "top right"]  # no room
    assert places((0.3, 0.79), (0.42, 0.89))[0] == "top left"  # to the right it would reach the other's ring
    assert places((0.5, 0.95)) == ["bottom right"]  # the line of the teacher


def test_costs_that_hardly_differ_are_not_stretched_and_trials_are_whole() -> None:
    assert cost_axis(np.array([4.2, 4.2]), "parameters")["range"] == [0.0, pytest.approx(5.25)]
    assert cost_axis(np.array([1.0, 3.0]), "parameters")["range"][0] > 0
    assert [count_ticks(count)["dtick"] for count in (1, 3, 8, 9, 16, 40, 1000)] == [1, 1, 1, 2, 2, 5, 200]


def test_the_knee_is_ringed_and_no_member_of_the_front_is_faded(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.5, (2, 128)), fake.row(1, 0.9, (4, 256)), fake.row(2, 0.8, (4, 256), latency_p50_ms=1.0),
            fake.row(3, 0.4, (4, 256), latency_p50_ms=30.0)]  # fmt: skip
    study = load(fake.study(rows, objectives=["quality", "parameters", "latency_ms"]))
    figure = front_figure.front_figure(study, "parameters")
    shown = [trace for trace in figure.data if trace.visible is True and trace.customdata is not None]
    faded = {int(t) for trace in shown if trace.marker.opacity is not None for t in trace.customdata}
    assert set(front(study)["trial"]) == {0, 1, 2} and faded == {3}
    rings = [t for t in figure.data if t.marker.symbol == "circle-open" and t.x[0] is not None and t.visible is True]
    best = front(study).iloc[knee(front(study), study.meta.aim.objectives)]
    assert len(rings) == 1 and (rings[0].x[0], rings[0].y[0]) == (best["parameters"], best["quality"])


def test_students_in_several_precisions_are_marks_of_one_front_joined_by_a_line(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.6, precision="fp32"), fake.row(1, 0.9, (6, 384), precision="fp32", seed=0)]
    for row in list(rows):
        own = {"trial": 2 + row["trial"], "status": "variant", "of_trial": row["trial"], "precision": "int8"}
        rows.append(row | own | {"quality": row["quality"] - 0.02, "latency_p50_ms": 0.4 * row["latency_p50_ms"]})
    lost = rows[2] | {"trial": 9, "of_trial": 8, "quality": 1.0}  # of a trial that has not ended
    folder = fake.study(
        [*rows, lost], objectives=["quality", "latency_ms"], deploy={"runtime": "onnx", "precision": ["fp32", "int8"]}
    )
    fake.reports(folder, rows)
    fake.test_scores(folder, [2])
    study = load(folder)
    assert len(study.finished) == 2 and study.students["trial"].tolist() == [0, 1, 2, 3]
    assert len(study.as_trained) == 2
    members = front(study)
    assert members["trial"].tolist() == [2, 0, 3, 1]
    assert [student_name(row).rpartition(", ")[2] for _, row in members.iterrows()] == ["int8", "fp32"] * 2
    figure = front_figure.front_figure(study)
    (line,) = [trace for trace in drawn(figure, 0) if trace.mode == "lines" and trace.line.dash == "dot"]
    ends = study.students.set_index("trial")
    assert list(line.x)[:2] == [ends.loc[2, "latency_p50_ms"], ends.loc[0, "latency_p50_ms"]]
    assert list(line.y)[:2] + list(line.y)[3:5] == [ends.loc[trial, "quality"] for trial in (2, 0, 3, 1)]
    assert study.pick(max_latency_ms=float(ends.loc[2, "latency_p50_ms"])).trial["trial"] == 2
    assert protocols_text(study).endswith("those of their file for onnx fp32 and int8.")
    assert len(figures.learning_curves(study, members)["mha"].data) == 2
    page = content(study)
    assert "Marks that are joined are one student in several precisions" in page and "trial 2" in page


def test_float_and_int8_of_a_student_are_two_marks_joined_by_a_line(fake: SimpleNamespace) -> None:
    of_file = {"float_latency_ms": 9.0, "torch_quality": 0.83, "artefact_loss": 0.03}
    rows = [fake.row(0, 0.5), fake.row(1, 0.8, (6, 384)) | of_file]
    study = load(
        fake.study(rows, objectives=["quality", "latency_ms"], deploy={"runtime": "onnx", "precision": "int8"})
    )
    figure = front_figure.front_figure(study)
    (line,) = [trace for trace in drawn(figure, 0) if trace.mode == "lines" and trace.line.dash == "dot"]
    (mark,) = [trace for trace in drawn(figure, 0) if trace.mode == "markers" and trace.marker.symbol == "circle-open"
               and trace.hovertemplate and "in torch" in trace.hovertemplate]  # fmt: skip
    latency = study.students.set_index("trial").loc[1, "latency_p50_ms"]
    assert list(line.x)[:2] == [9.0, latency] and list(line.y)[:2] == [0.83, 0.8]
    assert list(mark.x) == [9.0] and list(mark.y) == [0.83]
    assert figure.layout.xaxis.range[1] > 9
    text = protocols_text(study)
    assert text.endswith("Scores and costs of students are those of their file for onnx int8.")
