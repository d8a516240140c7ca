"""The report's figures (plotly). Everything that comes from a study is escaped, since plotly reads tags in text.

Colours are Okabe and Ito's, told apart under the common colour blindnesses, and readable on white and on near-black;
the page's style sheet recolours ink, grid and hover boxes for dark and for print, so no figure carries a background.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.pareto import costs_of, within_limits
from analysis.table import Study
from analysis.text import config_of, number, percent, student_name
from spaces.dominance import non_dominated
from spaces.records import OBJECTIVES

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31")
GREY, ACCENT = "#8a8f98", "#0072B2"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagram", "triangle-down", "cross")
COSTS = {"parameters": "parameters", "latency_ms": "latency", "flops": "FLOPs"}
AXIS_TITLES = {"parameters": "parameters", "latency_ms": "median latency, ms", "flops": "forward FLOPs per token"}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MAX_DOMINATED, MAX_LABELS = 1500, 10
MAX_PANELS, MAX_CURVES, MAX_FRONT_CURVES, MAX_CURVE_POINTS = 6, 8, 24, 150
PHASES = {"train_s": "training", "evaluate_s": "evaluation", "profile_s": "profiling", "start_up_s": "start-up"}


def evenly(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, evenly spaced in their order, first and last among them."""
    if len(rows) <= count:
        return rows
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]


def colours_of(methods: Sequence[str]) -> dict[str, str]:
    """A colour per method, the most frequent first; what is beyond the palette is grey."""
    names = list(dict.fromkeys(methods))
    return {name: PALETTE[i] if i < len(PALETTE) else GREY for i, name in enumerate(names)}


def method_colours(study: Study) -> dict[str, str]:
    """The same colour for a method in every figure."""
    return colours_of(study.finished["method"].value_counts().index.tolist())


def front_figure(study: Study) -> go.Figure:
    """Quality against a cost, switched between parameters, latency and FLOPs.

    What another trial beats in the shown view, or what breaks the study's limits, is faded; the rest is joined by a
    step line: the best quality that each cost buys. Colour is the method, symbol the depth. The teacher is at 1, the
    floor at 0.
    """
    rows = study.finished[study.finished["quality"].notna()]
    colours = method_colours(study)
    depths = sorted(rows["num_layers"].dropna().astype(int).unique())
    symbols = {depth: SYMBOLS[i % len(SYMBOLS)] for i, depth in enumerate(depths)}
    figure = go.Figure()
    for method, colour in colours.items():
        _legend_entry(figure, escape(method), {"color": colour, "symbol": "circle"}, method)
    for depth, symbol in symbols.items():
        _legend_entry(figure, f"{depth} layers", {"color": GREY, "symbol": symbol}, None)
    _legend_entry(figure, "teacher", {"color": GREY, "symbol": "star", "size": 13}, None)

    views, always = [], len(figure.data)
    wanted = [name for name in study.meta["objectives"] if name in COSTS]
    for name in [*wanted, *(cost for cost in COSTS if cost not in wanted)]:
        column = OBJECTIVES[name].column
        measured = rows[rows[column].notna()]
        if len(measured):
            start = len(figure.data)
            _add_view(figure, study, measured, name, colours, symbols)
            costs_N = np.append(measured[column].to_numpy(dtype=float), study.meta["teacher"].get(column) or np.nan)
            views.append((name, start, len(figure.data), _cost_axis(name, costs_N)))
    figure.add_hline(y=1, line={"dash": "dot", "width": 1, "color": GREY})
    figure.add_hline(y=0, line={"dash": "dot", "width": 1, "color": GREY})
    for y, words in ((1, "teacher"), (0, "floor: untrained")):
        figure.add_annotation(
            x=0, xref="paper", y=y, text=words, showarrow=False, xanchor="left", yanchor="bottom", font={"size": 11}
        )
    buttons: list[dict[str, Any]] = []
    for name, start, stop, axis in views:
        visible = [i < always or start <= i < stop for i in range(len(figure.data))]
        relayout = {f"xaxis.{key}": value for key, value in axis.items()}
        buttons.append({"label": COSTS[name], "method": "update", "args": [{"visible": visible}, relayout]})
    _style(figure, 520, "quality: share of the teacher's gain recovered")
    if views:
        for trace, visible in zip(figure.data, buttons[0]["args"][0]["visible"], strict=True):
            trace.visible = visible
        figure.update_layout(**{key.replace(".", "_"): value for key, value in buttons[0]["args"][1].items()})
    if len(views) > 1:
        menu = {"type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
        figure.update_layout(updatemenus=[{**menu, "buttons": buttons, "pad": {"l": 0, "b": 4}, "showactive": True}])
    figure.update_layout(legend={"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0, "itemsizing": "trace"})
    figure.update_layout(margin={"t": 52})
    figure.update_xaxes(exponentformat="SI", minor={"showgrid": False}, nticks=8)
    return figure


def _cost_axis(cost: str, costs_N: np.ndarray) -> dict[str, Any]:
    """Logarithmic when the costs span a factor of six; room on the left for the labels of the front."""
    low, high = np.nanmin(costs_N), np.nanmax(costs_N)
    scale = "log" if high > 6 * low > 0 else "linear"
    ends = (np.log10(low), np.log10(high)) if scale == "log" else (low, high)
    room = (ends[1] - ends[0]) or abs(ends[0]) or 1
    span = [float(ends[0] - 0.14 * room), float(ends[1] + 0.06 * room)]
    axis = {"title.text": AXIS_TITLES[cost], "type": scale, "range": span, "tickmode": "auto"}
    if scale == "log":
        decades = range(int(np.floor(span[0])), int(np.ceil(span[1])) + 1)
        ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if span[0] <= np.log10(tick) <= span[1]]
        axis |= {"tickmode": "array", "tickvals": ticks, "ticktext": [_tick(tick) for tick in ticks]}
    return axis


def _tick(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _legend_entry(figure: go.Figure, name: str, marker: dict[str, object], group: str | None) -> None:
    marker = {"size": 10, **marker}
    figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, legendgroup=group or f" {name}")


def _add_view(
    figure: go.Figure, study: Study, rows: pd.DataFrame, cost: str, colours: dict[str, str], symbols: dict[int, str]
) -> None:
    column = OBJECTIVES[cost].column
    costs_NK = costs_of(rows, [OBJECTIVES["quality"], OBJECTIVES[cost]])
    costs_NK[~within_limits(study, rows)] = np.nan
    on_front = non_dominated(costs_NK)
    members, beaten = rows[on_front].sort_values(column), evenly(rows[~on_front], MAX_DOMINATED)
    if teacher := study.meta["teacher"].get(column):
        name = escape(str(study.meta["teacher"].get("name", "")))
        words = f"teacher<br>{name}<br>{AXIS_TITLES[cost]}: {number(teacher)}"
        figure.add_scatter(
            x=[teacher], y=[1], mode="markers", marker={"symbol": "star", "size": 15, "color": GREY},
            showlegend=False, hovertemplate=words + "<extra></extra>",
        )  # fmt: skip
    for method, colour in colours.items():
        some = beaten[beaten["method"] == method]
        _add_points(figure, some, column, symbols, method, {"color": colour, "size": 7, "opacity": 0.45})
    line = {"shape": "hv", "color": GREY, "width": 1.5}
    costs, quality = members[column], members["quality"]
    figure.add_scatter(x=costs, y=quality, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    outline = {"color": "rgba(255,255,255,0.9)", "width": 1}
    for method, colour in colours.items():
        some = members[members["method"] == method]
        _add_points(figure, some, column, symbols, method, {"color": colour, "size": 12, "line": outline})
        if len(members) <= MAX_LABELS and len(some):
            figure.data[-1].update(
                mode="markers+text", text=some["architecture"], textposition="top left", cliponaxis=False
            )


def _add_points(
    figure: go.Figure, rows: pd.DataFrame, column: str, symbols: dict[int, str], method: str, marker: dict[str, object]
) -> None:
    if rows.empty:
        return
    figure.add_scatter(
        x=rows[column],
        y=rows["quality"],
        mode="markers",
        marker={**marker, "symbol": [symbols.get(depth, "circle") for depth in rows["num_layers"]]},
        legendgroup=method,
        showlegend=False,
        hovertext=[_hover(row) for _, row in rows.iterrows()],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _hover(row: pd.Series) -> str:
    lines = [f"<b>{escape(student_name(row))}</b> (trial {row['trial']})", f"quality {row['quality']:.3f}"]
    costs = ((row["parameters"], "parameters"), (row["latency_p50_ms"], "ms"), (row["flops_per_token"], "FLOPs/token"))
    lines.append(", ".join(f"{number(value)} {unit}" for value, unit in costs if pd.notna(value)))
    lines += [f"{axis.replace('_', ' ')}: {escape(value)}" for axis, value in config_of(row).items()]
    return "<br>".join(lines)


def progress_figure(study: Study, history: pd.DataFrame) -> go.Figure:
    """Each finished trial's quality, and the hypervolume of the trials so far (pareto.hypervolume_history)."""
    history = history.assign(quality=study.finished["quality"].to_numpy())
    steps = history[(history["hypervolume"].diff() != 0) | (history["finished"] == len(history))]
    dots = evenly(history[history["quality"].notna()], MAX_DOMINATED)
    figure = go.Figure()
    figure.add_scatter(
        x=dots["finished"], y=dots["quality"], mode="markers", name="quality of one trial",
        marker={"color": GREY, "size": 5, "opacity": 0.45}, customdata=dots["trial"],
        hovertemplate="trial %{customdata}: quality %{y:.3f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=steps["finished"], y=steps["hypervolume"], mode="lines", name="hypervolume so far",
        line={"color": ACCENT, "width": 2.5, "shape": "hv"},
        hovertemplate="after %{x} trials: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    _style(figure, 340, "share")
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    figure.update_xaxes(title_text="finished trials")
    return figure


def learning_curves(study: Study, members: pd.DataFrame) -> dict[str, go.Figure]:
    """Loss by trained tokens, one figure per method since losses of different methods do not compare.

    The front in the accent colour, a sample of the others in grey.
    """
    methods = list(method_colours(study))[:MAX_PANELS]
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
        _style(figure, 250, "loss")
        longest = max(curve["train_tokens"].max() for _, curve in curves)
        figure.update_xaxes(title_text="train tokens", exponentformat="SI", range=[0, 1.04 * longest], nticks=6)
        figure.update_yaxes(type="log" if positive else "linear", nticks=5, exponentformat="SI")
        figure.update_layout(margin={"l": 52, "r": 10, "t": 8, "b": 42})
    return figures


def time_figure(study: Study) -> go.Figure:
    """Mean seconds of a finished trial by method, split by what they went to."""
    means = study.finished.groupby("method")[list(PHASES)].mean().fillna(0)
    means = means.loc[list(method_colours(study))][::-1]
    shades = (ACCENT, "#56B4E9", "#E69F00", "#b9bec6")
    figure = go.Figure()
    for (column, phase), colour in zip(PHASES.items(), shades, strict=True):
        share = means[column] / means.sum(axis=1).replace(0, np.nan)
        figure.add_bar(
            x=means[column], y=[escape(method) for method in means.index], orientation="h", name=phase,
            marker={"color": colour, "line": {"width": 0}}, customdata=[percent(value) for value in share],
            hovertemplate=f"%{{y}}: {phase} %{{x:.1f}} s (%{{customdata}})<extra></extra>",
        )  # fmt: skip
    _style(figure, 110 + 34 * len(means), "")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}
    figure.update_layout(barmode="stack", bargap=0.35, legend=legend)
    figure.update_xaxes(title_text="seconds per trial")
    figure.update_yaxes(showgrid=False, automargin=True, ticks="", ticksuffix="  ")
    return figure


def _style(figure: go.Figure, height: int, y_title: str) -> None:
    figure.update_layout(
        template="none",
        height=height,
        font={"family": FONT, "size": 13, "color": "#444"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 14, "t": 34, "b": 48},
        hovermode="closest",
        hoverlabel={"align": "left", "bgcolor": "#fff", "bordercolor": "#ccc", "font": {"color": "#222", "size": 12}},
    )
    figure.update_layout(xaxis_title_font_size=12, yaxis_title_font_size=12, legend_font_size=12)
    line = {"showline": False, "zeroline": False, "gridcolor": "#e6e8eb", "showgrid": True, "ticks": ""}
    figure.update_xaxes(**{**line, "showgrid": False, "showline": True, "linecolor": "#c4c8ce", "ticks": "outside"})
    figure.update_yaxes(**line, title_text=y_title, title_standoff=8)
