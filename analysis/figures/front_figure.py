"""The figure of the front: quality against a cost, with everything that gives it scale.

All text from a study is escaped, since plotly reads tags in text. Points carry their trial number as customdata, which
is what the page's script pins by; its trace for that is told by `meta`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.points import Hovers, short
from analysis.figures.scale import add_baseline, add_shapes
from analysis.figures.style import GREY, SYMBOLS, buttons, cost_axis, evenly, method_colours, style
from analysis.selection.front import aim, front, knee, values_of
from analysis.study.table import StudyTable
from analysis.words import WITHOUT_TEACHER, cost_text, plural, student_name
from spaces.errors import choose
from spaces.records.costs import COSTS, Cost
from spaces.records.fronts import front_indices

MAX_DOMINATED, MAX_STOPPED, MAX_LABELS = 1000, 300, 10
LABEL_GAP, LABEL_CHARACTER = 0.03, 0.026
"""The same in parts: what is between a point and its name, and a character."""
LABEL_LIFT, LABEL_LINE = 0.03, 0.06
"""In quality: from a point up or down to its name, and the height of the name."""
RADIUS, RADIUS_IN_QUALITY = 0.025, 0.03
"""Of a point of the front with its ring, along both axes of such a screen."""
Spot = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, right, low and high of a name: shares of the axis, and qualities."""


@dataclass(frozen=True)
class Look:
    """How students are drawn, in every view alike."""

    colours: dict[str, str]
    """By method."""
    symbols: dict[int, str]
    """By depth."""
    hovers: Hovers


def front_figure(study: StudyTable, cost: str | None = None) -> go.Figure:
    """Quality against a cost, switched between all that were measured; `cost` comes first.

    What another student beats in the shown view, or what breaks the study's limits, is faded; the rest is joined by a
    step line: the best quality that each cost buys. Colour is the method, symbol the depth; bars are 95 % intervals.
    For scale: the teacher at 1, the floor at 0, the front of the students that learned without the teacher, and named
    shapes of the literature.
    """
    rows = study.students[study.students["quality"].notna()]
    colours = method_colours(study)
    depths = sorted(rows["num_layers"].dropna().astype(int).unique())
    symbols = {depth: SYMBOLS[i % len(SYMBOLS)] for i, depth in enumerate(depths)}
    look = Look(colours, symbols, Hovers(study.meta.config_columns))
    figure = go.Figure()
    _legend(figure, study, rows, look)
    views, always = [], len(figure.data)
    first = [] if cost is None else [choose("cost", COSTS, cost)]
    for each in dict.fromkeys([*first, *study.meta.aim.costs, *COSTS.values()]):
        measured = rows[rows[each.column].notna()]
        if len(measured):
            start, costs_N = len(figure.data), _drawn_costs(study, measured, each)
            _add_view(figure, study, measured, each, look)
            views.append((each, start, len(figure.data), cost_axis(costs_N, each.title)))
    ring = {"size": 20, "symbol": "circle-open", "color": GREY, "line": {"width": 2}}
    figure.add_scatter(
        x=[None], y=[None], mode="markers+text", marker=ring, showlegend=False, hoverinfo="skip", meta="pinned",
        textposition="bottom center", cliponaxis=False,
    )  # fmt: skip
    for y, words in ((1, "teacher"), (0, "floor: untrained")):
        figure.add_hline(y=y, line={"dash": "dot", "width": 1, "color": GREY})
        figure.add_annotation(
            x=0, xref="paper", y=y, yshift=0 if y else 4, text=words, showarrow=False, xanchor="left",
            yanchor="bottom", font={"size": 11},
        )  # fmt: skip
    choices: list[dict[str, Any]] = []
    for each, start, stop, axis in views:
        visible = [i < always or start <= i < stop for i in range(len(figure.data) - 1)] + [True]
        relayout = {f"xaxis.{key}": value for key, value in axis.items()}
        choices.append({"label": each.label, "method": "update", "args": [{"visible": visible}, relayout]})
    style(figure, 540, "quality: share of the teacher's gain recovered")
    if views:
        for trace, visible in zip(figure.data, choices[0]["args"][0]["visible"], strict=True):
            trace.visible = visible
        figure.update_layout(**{key.replace(".", "_"): value for key, value in choices[0]["args"][1].items()})
    if len(views) > 1:
        buttons(figure, choices)
    figure.update_layout(legend={"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0, "itemsizing": "trace"})
    figure.update_layout(margin={"t": 52}, meta=[each.column for each, *_ in views])
    figure.update_xaxes(exponentformat="SI", minor={"showgrid": False}, nticks=8)
    return figure


def _legend(figure: go.Figure, study: StudyTable, rows: pd.DataFrame, look: Look) -> None:
    def entry(name: str, marker: dict[str, Any], group: str = "") -> None:
        marker = {"size": 10, **marker}
        group = group or f" {name}"
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, legendgroup=group)

    for method, colour in look.colours.items():
        entry(short(method), {"color": colour, "symbol": "circle"}, method)
    for depth, symbol in look.symbols.items():
        entry(plural(depth, "layer"), {"color": GREY, "symbol": symbol})
    entry("teacher", {"color": GREY, "symbol": "star", "size": 13})
    if len(study.stopped):
        entry("stopped early", {"color": GREY, "symbol": "x-thin-open"}, "stopped")
    if rows["method"].isin(WITHOUT_TEACHER).any():
        line = {"dash": "dash", "color": GREY, "width": 1.5}
        figure.add_scatter(x=[None], y=[None], mode="lines", line=line, name="without the teacher")


def _add_view(figure: go.Figure, study: StudyTable, rows: pd.DataFrame, cost: Cost, look: Look) -> None:
    column, own = cost.column, front(study)
    best = knee(own, study.meta.aim.objectives) if len(own) else 0
    members = rows.iloc[front_indices(values_of(rows), aim(study, ["quality", cost.name]))]
    beaten = evenly(rows.drop(members.index), MAX_DOMINATED)
    add_shapes(figure, study, rows, cost)
    if teacher := study.meta.teacher.costs.get(column):
        name = short(study.meta.teacher.name)
        words = f"teacher<br>{name}<br>{cost.title}: {cost_text(cost, teacher)}"
        figure.add_scatter(
            x=[teacher], y=[1], mode="markers", marker={"symbol": "star", "size": 15, "color": GREY},
            showlegend=False, hovertemplate=words + "<extra></extra>",
        )  # fmt: skip
    stopped = evenly(study.stopped[study.stopped[["quality", column]].notna().all(axis=1)], MAX_STOPPED)
    grey = {"color": GREY, "size": 6, "opacity": 0.5}
    _add_points(figure, stopped, column, replace(look, symbols={}), "stopped", grey, "x-thin-open")
    for method, colour in look.colours.items():
        some = beaten[(beaten["method"] == method) & ~beaten["trial"].isin(own["trial"])]
        _add_points(figure, some, column, look, method, {"color": colour, "size": 7, "opacity": 0.45})
    add_baseline(figure, study, cost)
    elsewhere = beaten[beaten["trial"].isin(own["trial"])]  # on the front by another cost than this one
    for method, colour in look.colours.items():
        some = elsewhere[elsewhere["method"] == method]
        _add_points(figure, some, column, look, method, {"color": colour, "size": 12})
    line = {"shape": "hv", "color": GREY, "width": 1.5}
    costs, quality = members[column], members["quality"]
    figure.add_scatter(x=costs, y=quality, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    if rows["precision"].notna().any():
        _join_precisions(figure, rows, members, cost)
    else:
        _add_in_float(figure, members, cost)
    _add_members(figure, study, members, cost, look)
    if len(own) > 1 and pd.notna(own.iloc[best][column]):
        ring = {"size": 18, "symbol": "circle-open", "color": GREY, "line": {"width": 1.5}}
        figure.add_scatter(
            x=[own.iloc[best][column]], y=[own.iloc[best]["quality"]], mode="markers", marker=ring, showlegend=False,
            hoverinfo="skip", cliponaxis=False,
        )  # fmt: skip


def _drawn_costs(study: StudyTable, rows: pd.DataFrame, cost: Cost) -> np.ndarray:
    """All that an axis must reach: of students, as they are and before rounding, and of the teacher."""
    columns = [cost.column, *filter(None, [cost.unrounded])]
    costs_N = rows[columns].to_numpy(dtype=float).ravel()
    return np.append(costs_N[~np.isnan(costs_N)], study.meta.teacher.costs.get(cost.column) or np.nan)


def _join_precisions(figure: go.Figure, rows: pd.DataFrame, members: pd.DataFrame, cost: Cost) -> None:
    """A line from each member to the same student in the other precisions."""
    owners = rows["of_trial"].fillna(rows["trial"])
    xs: list[float] = []
    ys: list[float] = []
    for owner in owners.loc[members.index].unique():
        own = rows[owners == owner].sort_values(cost.column)
        if len(own) > 1:
            xs += [*own[cost.column], np.nan]  # where the line breaks
            ys += [*own["quality"], np.nan]
    figure.add_scatter(
        x=xs, y=ys, mode="lines", line={"color": GREY, "width": 1.5, "dash": "dot"}, hoverinfo="skip",
        showlegend=False, name="precisions of one student",
    )  # fmt: skip


def _add_in_float(figure: go.Figure, members: pd.DataFrame, cost: Cost) -> None:
    """Beside the file of each member its weights in torch: a hollow mark, joined to it by a line."""
    rows = members[members["torch_quality"].notna()]
    if rows.empty:
        return
    before = rows[cost.column] if not cost.unrounded else rows[cost.unrounded].fillna(rows[cost.column])
    between = np.full(len(rows), np.nan)  # where the line breaks
    figure.add_scatter(
        x=np.column_stack([before, rows[cost.column], between]).ravel(),
        y=np.column_stack([rows["torch_quality"], rows["quality"], between]).ravel(),
        mode="lines", line={"color": GREY, "width": 1.5, "dash": "dot"}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    names = [short(student_name(row)) for row in rows.to_dict("records")]
    words = "%{text}<br>its weights in float, in torch: quality %{y:.3f}<extra></extra>"
    figure.add_scatter(
        x=before, y=rows["torch_quality"], mode="markers", text=names, hovertemplate=words, showlegend=False,
        marker={"symbol": "circle-open", "size": 9, "color": GREY, "line": {"width": 1.5}},
    )  # fmt: skip


def _add_members(figure: go.Figure, study: StudyTable, members: pd.DataFrame, cost: Cost, look: Look) -> None:
    """The front itself: large points with intervals, and names where they are few."""
    column, teacher = cost.column, study.meta.teacher.costs.get(cost.column)
    axis = cost_axis(_drawn_costs(study, study.students, cost), cost.title)
    low, high = axis["range"]

    def spots(costs: pd.Series, qualities: pd.Series) -> list[Spot]:
        scaled_N = np.log10(costs.to_numpy(dtype=float)) if axis["type"] == "log" else costs.to_numpy(dtype=float)
        return list(zip(((scaled_N - low) / (high - low)).tolist(), qualities.tolist(), strict=True))

    others = study.students.drop(members.index)
    star = spots(pd.Series([teacher]), pd.Series([1.0]))[0] if teacher else None
    own = spots(members[column], members["quality"])
    placed = _label_places(members["architecture"].tolist(), own, spots(others[column], others["quality"]), star)
    places = pd.Series(placed, members.index, dtype=object)
    outline = {"color": "rgba(255,255,255,0.9)", "width": 1}
    for method, colour in look.colours.items():
        some = members[members["method"] == method]
        if some.empty:
            continue
        _add_points(figure, some, column, look, method, {"color": colour, "size": 12, "line": outline})
        if some["low"].notna().any():
            above, below = some["high"] - some["quality"], some["quality"] - some["low"]
            bar = {"type": "data", "array": above, "arrayminus": below, "color": colour, "thickness": 1.2, "width": 4}
            figure.data[-1].update(error_y=bar)
        if len(members) <= MAX_LABELS:
            where = places[some.index]
            names = some["architecture"].where(where != "", "").tolist()
            corners = where.replace("", "top left").tolist()
            figure.data[-1].update(mode="markers+text", text=names, textposition=corners, cliponaxis=False)


def _label_places(
    names: Sequence[str], spots: Sequence[Spot], others: Sequence[Spot], teacher: Spot | None
) -> list[str]:
    """Where the name of each member stands beside its point, so that it lies on the fewest of `others` and lines.

    '' where it would lie on another name, on a point of the front, on the teacher's star or on the numbers of the axis:
    then hovering tells it. Spots are (share of the axis, quality).
    """
    places, taken = [], list[Box]()
    points = [*spots, *([teacher] if teacher else [])]
    for name, (x, y) in zip(names, spots, strict=True):
        width, found = LABEL_GAP + LABEL_CHARACTER * len(name), {}
        lefts, lows = {"left": x - width, "right": x}, {"top": y + LABEL_LIFT, "bottom": y - LABEL_LIFT - LABEL_LINE}
        for place in ("top left", "bottom right", "top right", "bottom left"):
            height, side = place.split()
            box = (lefts[side], lefts[side] + width, lows[height], lows[height] + LABEL_LINE)
            on_a_point = any(_holds(box, spot, RADIUS, RADIUS_IN_QUALITY) for spot in points if spot != (x, y))
            if box[0] >= 0 and box[1] <= 1 and not on_a_point and not any(_meet(box, each) for each in taken):
                crossed = sum(box[2] < level < box[3] for level in (0, 1))
                found[place] = crossed + sum(_holds(box, spot) for spot in others), box
        place = min(found, key=lambda each: found[each][0], default="")
        if place:
            taken.append(found[place][1])
        places.append(place)
    return places


def _holds(box: Box, spot: Spot, across: float = 0.0, up: float = 0.0) -> bool:
    """Whether a point that reaches so far lies on a box."""
    left, right, low, high = box
    return left - across < spot[0] < right + across and low - up < spot[1] < high + up


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _add_points(
    figure: go.Figure, rows: pd.DataFrame, column: str, look: Look, group: str, marker: dict[str, Any],
    symbol: str = "circle",
) -> None:  # fmt: skip
    if rows.empty:
        return
    figure.add_scatter(
        x=rows[column],
        y=rows["quality"],
        mode="markers",
        marker={**marker, "symbol": [look.symbols.get(depth, symbol) for depth in rows["num_layers"]]},
        legendgroup=group,
        showlegend=False,
        customdata=rows["trial"],
        hovertext=look.hovers.of(rows),
        hovertemplate="%{hovertext}<extra></extra>",
    )
