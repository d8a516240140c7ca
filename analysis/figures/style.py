"""How figures look: colours, symbols, axes and short numbers.

Colours are Okabe and Ito's, told apart under the common colour blindnesses, and readable on white and on near-black;
the page's style sheet recolours ink, grid and hover boxes for dark and for print, so no figure carries a background.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.study.table import StudyTable

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31")
GREY, ACCENT = "#8a8f98", "#0072B2"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagram", "triangle-down", "cross")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}
"""A legend in one line over the figure."""


NEARLY_EQUAL = 0.15
"""Share of the larger cost below which two costs are drawn side by side, not stretched over the figure."""
BELOW = {"orientation": "h", "y": -0.27, "yanchor": "top", "x": 0, "traceorder": "normal"}
"""A legend under the figure, where buttons stand over it."""


def count_ticks(count: int) -> dict[str, Any]:
    """Whole numbers on an axis from 1 to `count`, at most about eight, with room at both ends."""
    step = next(size * 10**power for power in range(12) for size in (1, 2, 5) if count <= 8 * size * 10**power)
    return {"dtick": step, "tick0": 0, "range": [min(0.5, 0.97 * count), 1.03 * count + 0.3]}


def evenly(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, evenly spaced in their order, first and last among them."""
    if len(rows) <= count:
        return rows
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour per name, in their order; what is beyond the palette is grey."""
    distinct = list(dict.fromkeys(names))
    return {name: PALETTE[i] if i < len(PALETTE) else GREY for i, name in enumerate(distinct)}


def method_colours(study: StudyTable) -> dict[str, str]:
    """The same colour for a method in every figure, the most frequent first."""
    return colours_of(study.finished["method"].value_counts().index.tolist())


def tick(value: float) -> str:
    """'20', '5k', '10M'."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 of each decade between two values, with short numbers."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    ticks = [value for value in ticks if low <= value <= high]
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [tick(value) for value in ticks]}


def cost_axis(costs_N: np.ndarray, title: str) -> dict[str, Any]:
    """Logarithmic when the costs span a factor of six, from 0 when they hardly differ; room for labels on the left."""
    low, high = np.nanmin(costs_N), np.nanmax(costs_N)
    if high - low < NEARLY_EQUAL * high:
        return {"title.text": title, "type": "linear", "range": [0.0, float(1.25 * high)], "tickmode": "auto"}
    scale = "log" if high > 6 * low > 0 else "linear"
    ends = (np.log10(low), np.log10(high)) if scale == "log" else (low, high)
    room = ends[1] - ends[0]
    span = [float(ends[0] - 0.14 * room), float(ends[1] + 0.06 * room)]
    axis = {"title.text": title, "type": scale, "range": span, "tickmode": "auto"}
    if scale == "log":
        axis |= log_ticks(10 ** span[0], 10 ** span[1])
    return axis


def buttons(figure: go.Figure, choices: Sequence[dict[str, Any]]) -> None:
    """A row of buttons over the figure; the first is as the figure stands."""
    menu = {"type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    figure.update_layout(updatemenus=[{**menu, "buttons": list(choices), "pad": {"l": 0, "b": 4}, "showactive": True}])


def style(figure: go.Figure, height: int, y_title: str) -> None:
    """The look that all figures share."""
    line = {"showline": False, "zeroline": False, "gridcolor": "#e6e8eb", "showgrid": True, "ticks": ""}
    across = {**line, "showgrid": False, "showline": True, "linecolor": "#c4c8ce", "ticks": "outside"}
    hovering = {"align": "left", "bgcolor": "#fff", "bordercolor": "#ccc", "font": {"color": "#222", "size": 12}}
    title = {"font": {"size": 12}}
    figure.update_layout(
        template="none",
        height=height,
        font={"family": FONT, "size": 13, "color": "#444"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 14, "t": 34, "b": 48},
        hovermode="closest",
        hoverlabel=hovering,
        legend={"font": {"size": 12}},
        xaxis={**across, "title": title},
        yaxis={**line, "title": {**title, "text": y_title, "standoff": 8}},
    )
