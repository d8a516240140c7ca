"""The figures beside the front, and all of them by name. Texts are escaped, since plotly reads tags in them."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.decisions import decisions_figure
from analysis.figures.front_figure import front_figure
from analysis.figures.style import (
    ABOVE,
    ACCENT,
    BELOW,
    GREY,
    buttons,
    count_ticks,
    evenly,
    log_ticks,
    method_colours,
    style,
)
from analysis.selection.front import front, hypervolume_history
from analysis.statistics.effects import axis_importance, varying_axes
from analysis.study.table import StudyTable
from analysis.words import number, percent, student_name
from spaces.students.transfer import UNTRAINED

MAX_DOTS, MAX_LINES = 1500, 600
MAX_PANELS, MAX_CURVES, MAX_FRONT_CURVES, MAX_CURVE_POINTS = 6, 8, 24, 150
PHASES = {"teacher_s": "teacher", "student_s": "training without it", "evaluate_s": "evaluation",
          "profile_s": "profiling", "start_up_s": "start-up"}  # fmt: skip
MAX_TICKS, MAX_TICK_LENGTH = 12, 18
TICK_CHARACTER, TICK_GAP = 6.2, 14
"""Pixels of a character of a tick of parallel axes, and what is between a tick and both axes."""


def progress_figure(study: StudyTable, history: pd.DataFrame | None = None) -> go.Figure:
    """Each finished trial's quality, and the hypervolume so far, over trials or over seconds of training.

    `history` is `pareto.hypervolume_history`, for who has it already.
    """
    history = hypervolume_history(study) if history is None else history
    history = history.assign(quality=study.finished["quality"].to_numpy())
    steps = history[(history["hypervolume"].diff() != 0) | (history["finished"] == len(history))]
    dots = evenly(history[history["quality"].notna()], MAX_DOTS)
    figure = go.Figure()
    figure.add_scatter(
        x=dots["finished"], y=dots["quality"], mode="markers", name="quality of one trial",
        marker={"color": GREY, "size": 5, "opacity": 0.45}, customdata=dots["trial"],
        hovertemplate="trial %{customdata}: quality %{y:.3f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=steps["finished"], y=steps["hypervolume"], mode="lines", name="hypervolume so far",
        line={"color": ACCENT, "width": 2.5, "shape": "hv"}, cliponaxis=False,
        hovertemplate="at %{x}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    style(figure, 340, "share")
    figure.update_layout(legend=BELOW, margin={"t": 52})
    counted, auto = count_ticks(len(history)), {"dtick": None, "tick0": None, "range": None, "autorange": True}
    figure.update_xaxes(title_text="finished trials", **counted)
    if history["train_s"].iloc[-1] > 0:
        scale, unit = (3600, "hours") if history["train_s"].iloc[-1] > 7200 else (60, "minutes")
        views = {"trials": ([dots["finished"].tolist(), steps["finished"].tolist()], "finished trials")}
        spent = [(rows["train_s"] / scale).tolist() for rows in (dots, steps)]
        views["compute"] = (spent, f"{unit} of training, all trials together")
        choices: list[dict[str, Any]] = [
            {
                "label": label,
                "method": "update",
                "args": [{"x": xs}, _axis(title, counted if label == "trials" else auto)],
            }
            for label, (xs, title) in views.items()
        ]
        buttons(figure, choices)
    return figure


def _axis(title: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What a button changes of the x axis."""
    return {"xaxis.title.text": title, **{f"xaxis.{key}": value for key, value in settings.items()}}


def rungs_figure(study: StudyTable) -> go.Figure | None:
    """Quality by trained tokens of the trials that were scored at rungs; None when none was.

    The front in the accent colour, what was stopped in a broken line, the rest in grey.
    """
    reports = study.reports[study.reports["quality"].notna()].sort_values(["trial", "train_tokens"])
    if reports.empty:
        return None
    on_front = set(study.trained(front(study))["trial"])
    last = reports.groupby("trial")["quality"].last()
    kept = set(evenly(last.sort_values().to_frame(), MAX_LINES).index) | (on_front & set(last.index))
    rows = study.trials.set_index("trial", drop=False)
    figure = go.Figure()
    for trial, curve in reports[reports["trial"].isin(kept)].groupby("trial"):
        row = rows.loc[trial] if trial in rows.index else None
        name = f"trial {trial}" if row is None else f"{escape(student_name(row))} (trial {trial})"
        best, stopped = trial in on_front, row is not None and row["status"] == "stopped"
        tokens, quality = curve["train_tokens"].tolist(), curve["quality"].tolist()
        if row is not None and row["status"] == "finished" and row["train_tokens"] > tokens[-1]:
            tokens, quality = [*tokens, row["train_tokens"]], [*quality, row["quality"]]
        dash, end = ("dot", "x") if stopped else ("solid", "circle")
        figure.add_scatter(
            x=tokens, y=quality, mode="lines+markers", showlegend=False, opacity=1 if best else 0.5,
            line={"color": ACCENT if best else GREY, "width": 2 if best else 1, "dash": dash},
            marker={"size": 6 if best else 4, "symbol": ["circle"] * (len(tokens) - 1) + [end]},
            hovertemplate=f"{name}<br>quality %{{y:.3f}} at %{{x}} tokens<extra></extra>",
        )  # fmt: skip
    style(figure, 320, "quality")
    figure.update_xaxes(title_text="train tokens", exponentformat="SI", rangemode="tozero", nticks=8)
    return figure


def learning_curves(study: StudyTable, members: pd.DataFrame) -> dict[str, go.Figure]:
    """Loss by trained tokens, one figure per method since losses of different methods do not compare.

    The front in the accent colour, a sample of the others in grey.
    """
    methods = [method for method in method_colours(study) if method != UNTRAINED][:MAX_PANELS]
    members = study.trained(members)
    others = study.finished.drop(members.index).sort_values("quality", ascending=False)
    samples = [evenly(others[others["method"] == method], MAX_CURVES) for method in methods]
    chosen = pd.concat([evenly(members, MAX_FRONT_CURVES), *samples])
    reports = study.reports_of(chosen["trial"])
    by_trial = reports[reports["loss"].notna()].sort_values("train_tokens").groupby("trial")
    figures: dict[str, go.Figure] = {}
    for method in methods:
        rows = chosen[chosen["method"] == method].iloc[::-1]
        curves = [
            (row, by_trial.get_group(row["trial"])) for _, row in rows.iterrows() if row["trial"] in by_trial.groups
        ]
        if not curves:
            continue
        figure = figures[method] = go.Figure()
        for row, curve in curves:
            kept, on_front = evenly(curve, MAX_CURVE_POINTS), row["trial"] in set(members["trial"])
            name = f"{escape(student_name(row))} (trial {row['trial']})"
            figure.add_scatter(
                x=kept["train_tokens"], y=kept["loss"], mode="lines", showlegend=False, opacity=1 if on_front else 0.45,
                line={"color": ACCENT if on_front else GREY, "width": 2 if on_front else 1},
                hovertemplate=f"{name}<br>loss %{{y:.4g}} at %{{x}} tokens<extra></extra>",
            )  # fmt: skip
        positive = all((curve["loss"] > 0).all() for _, curve in curves)
        style(figure, 250, "loss")
        longest = max(curve["train_tokens"].max() for _, curve in curves)
        figure.update_xaxes(title_text="train tokens", exponentformat="SI", range=[0, 1.04 * longest], nticks=6)
        figure.update_yaxes(nticks=5, exponentformat="SI")
        if positive:
            low, high = (getattr(np, end)([getattr(c["loss"], end)() for _, c in curves]) for end in ("min", "max"))
            few = high < 3 * low  # then round numbers lie closer than 1, 2 and 5
            figure.update_yaxes(type="log", **({} if few else log_ticks(low / 1.1, high * 1.1)))
        figure.update_layout(margin={"l": 52, "r": 22, "t": 8, "b": 42})  # half a number stands beyond the axis
    return figures


def parallel_figure(study: StudyTable) -> go.Figure:
    """Parallel coordinates: one line per student, its axes and objectives side by side, coloured by quality.

    Dragging along an axis keeps the lines that pass there. Axes that never varied are left out.
    """
    rows = study.students[study.students["quality"].notna()].sort_values("quality")
    rows = evenly(rows, MAX_LINES)
    costs = {cost.column: cost.title for cost in study.costs}
    measured = {"learning_rate": "learning rate", **costs, "quality": "quality"}
    axes = varying_axes(rows, study.meta.config_columns)
    dimensions = [_places(rows[axis], axis) for axis in axes if axis not in measured]
    for column, label in measured.items():
        if rows[column].nunique() > 1 and rows[column].notna().all():
            dimensions.append(_range(rows[column], label))
    scale = [[0, "#c9cdd3"], [0.5, "#56B4E9"], [1, "#0072B2"]]
    line = {"color": rows["quality"], "colorscale": scale, "showscale": False}
    figure = go.Figure()
    figure.add_parcoords(dimensions=dimensions, line=line, labelangle=-18, unselected_line_opacity=0.05)
    style(figure, 430, "")
    left = max(70, round(TICK_CHARACTER * _longest(figure.data[0].dimensions[:1]) + TICK_GAP))
    figure.update_layout(margin={"l": left, "r": 60, "t": 90, "b": 24})
    return figure


def parallel_width(figure: go.Figure) -> int:
    """Pixels that a parallel figure needs, so that the numbers of an axis end right of the axis before."""
    dimensions, margin = figure.data[0].dimensions, figure.layout.margin
    space = TICK_CHARACTER * _longest(dimensions[1:]) + TICK_GAP
    return round(margin.l + margin.r + (len(dimensions) - 1) * space)


def _longest(dimensions: Sequence[Any]) -> int:
    """Characters of the longest tick."""
    return max((len(text) for dimension in dimensions for text in dimension.ticktext), default=0)


def _range(values: pd.Series, label: str) -> dict[str, Any]:
    """A measured axis with five ticks, logarithmic where the values span a factor of five."""
    logarithmic = values.min() > 0 and values.max() > 5 * values.min()
    scaled = np.log10(values.to_numpy(dtype=float)) if logarithmic else values.to_numpy(dtype=float)
    ticks = np.linspace(scaled.min(), scaled.max(), 5)
    texts = [number(10**place if logarithmic else place) for place in ticks]
    return {"label": label, "values": scaled.tolist(), "tickvals": ticks.tolist(), "ticktext": texts}


def _places(values: pd.Series, axis: str) -> dict[str, Any]:
    """An axis of choices: a place with a name for each, the lowest for students that lack the axis."""
    known = sorted(values.dropna().unique().tolist())
    places = {value: place for place, value in enumerate(known, 1)}
    texts = [escape(_clip(value if isinstance(value, str) else f"{value:g}")) for value in known]
    ticks, placed = list(places.values()), [places.get(value, 0) for value in values]
    if 0 in placed:
        ticks, texts = [0, *ticks], ["-", *texts]
    shown = evenly(pd.DataFrame({"tick": ticks, "text": texts}), MAX_TICKS)
    label = axis.replace("_", " ")
    return {"label": label, "values": placed, "tickvals": shown["tick"].tolist(), "ticktext": shown["text"].tolist()}


def _clip(text: str) -> str:
    return text if len(text) <= MAX_TICK_LENGTH else text[: MAX_TICK_LENGTH - 1] + "…"


def importance_figure(study: StudyTable, method: str | None = None, evaluator: str = "ped_anova") -> go.Figure | None:
    """Importance of each axis for each objective (`compare.axis_importance`); None with too few trials."""
    table = axis_importance(study, method, evaluator)
    if table is None:
        return None
    figure = go.Figure()
    axes = [escape(str(axis).replace("_", " ")) for axis in table.index[::-1]]
    for objective, colour in zip(table.columns, (ACCENT, "#E69F00", "#009E73", "#CC79A7"), strict=False):
        figure.add_bar(
            x=table[objective].to_numpy()[::-1], y=axes, orientation="h", name=objective,
            marker={"color": colour, "line": {"width": 0}}, hovertemplate="%{y}: %{x:.0%}<extra></extra>",
        )  # fmt: skip
    style(figure, 120 + 22 * len(axes) * len(table.columns), "")
    figure.update_layout(barmode="group", bargap=0.3, legend=ABOVE)
    figure.update_xaxes(title_text="share of importance", tickformat=".0%")
    figure.update_yaxes(showgrid=False, automargin=True, ticks="", ticksuffix="  ")
    return figure


def time_figure(study: StudyTable) -> go.Figure:
    """Mean seconds of a trial that ran by method, split by what they went to."""
    means = phases(study).groupby(ran(study)["method"]).mean().fillna(0)
    means = means.loc[means.sum(axis=1).sort_values().index]
    shades = ("#CC79A7", ACCENT, "#56B4E9", "#E69F00", "#b9bec6")
    figure = go.Figure()
    for (column, phase), colour in zip(PHASES.items(), shades, strict=True):
        share = means[column] / means.sum(axis=1).replace(0, np.nan)
        figure.add_bar(
            x=means[column], y=[escape(method) for method in means.index], orientation="h", name=phase,
            marker={"color": colour, "line": {"width": 0}}, customdata=[percent(value) for value in share],
            hovertemplate=f"%{{y}}: {phase} %{{x:.1f}} s (%{{customdata}})<extra></extra>",
        )  # fmt: skip
    style(figure, 150 + 34 * len(means), "")  # on a phone the legend takes three lines
    figure.update_layout(barmode="stack", bargap=0.35, legend={**ABOVE, "entrywidth": 115}, margin={"t": 72})
    figure.update_xaxes(title_text="seconds per trial")
    figure.update_yaxes(showgrid=False, automargin=True, ticks="", ticksuffix="  ")
    return figure


def phases(study: StudyTable) -> pd.DataFrame:
    """Seconds of each trial that ran, one column for each of PHASES; NaN where nothing was measured."""
    rows = ran(study)
    teacher_s = rows["teacher_s"].fillna(0).where(rows["train_s"].notna())
    return rows.assign(teacher_s=teacher_s, student_s=rows["train_s"] - teacher_s)[list(PHASES)].astype(float)


def ran(study: StudyTable) -> pd.DataFrame:
    """The trials that cost time: finished, stopped early or failed."""
    return study.trials[study.trials["status"].isin(["finished", "stopped", "failed"])]


FIGURES: dict[str, Callable[..., go.Figure | None]] = {
    "front": front_figure,
    "progress": progress_figure,
    "rungs": rungs_figure,
    "decisions": decisions_figure,
    "parallel": parallel_figure,
    "importance": importance_figure,
    "time": time_figure,
}
"""What `Study.figure` draws."""
