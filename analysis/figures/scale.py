"""What gives the figure of the front its scale: students that learned without the teacher, and named shapes."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.style import GREY
from analysis.selection.front import costs_of
from analysis.study.table import StudyTable
from spaces.records.costs import Cost
from spaces.records.fronts import non_dominated
from spaces.records.objectives import QUALITY
from spaces.students.architecture import SHAPES

LABEL_ROOM = 0.16
"""Share of the axis that the name of a shape takes, on a narrow screen."""


def add_baseline(figure: go.Figure, study: StudyTable, cost: Cost) -> None:
    """The best that each cost buys by training without the teacher."""
    rows = study.without_teacher.dropna(subset=["quality", cost.column])
    kept = rows[non_dominated(costs_of(rows, [QUALITY, cost]))].sort_values(cost.column)
    if kept.empty:
        return
    column = cost.column
    costs, quality = kept[column].tolist(), kept["quality"].tolist()
    costs.append(max(study.students[column].max(), study.meta.teacher.costs.get(column) or 0))
    line = {"shape": "hv", "dash": "dash", "color": GREY, "width": 1.5}
    words = f"without the teacher ({', '.join(sorted(set(rows['method'])))})<br>quality %{{y:.3f}}<extra></extra>"
    figure.add_scatter(
        x=costs, y=[*quality, quality[-1]], mode="lines", line=line, hovertemplate=words, showlegend=False,
    )  # fmt: skip


def add_shapes(figure: go.Figure, study: StudyTable, rows: pd.DataFrame, cost: Cost) -> None:
    """Where named shapes of the literature would lie: a mark on the floor line with the name under it."""
    column = cost.column
    ends = rows[column].min(), max(rows[column].max(), study.meta.teacher.costs.get(column) or 0)
    kept: dict[str, float] = {}
    for name, value in sorted(named_shapes(study, rows, cost).items(), key=lambda item: item[1]):
        before = max(kept.values(), default=-np.inf)
        if ends[0] <= value <= ends[1] and value - before >= LABEL_ROOM * (ends[1] - ends[0]):
            kept[name] = value
    if kept:
        edge = ends[1] - LABEL_ROOM / 2 * (ends[1] - ends[0])
        places = ["bottom left" if value > edge else "bottom center" for value in kept.values()]
        figure.add_scatter(
            x=list(kept.values()), y=[0] * len(kept), mode="markers+text", text=list(kept), showlegend=False,
            marker={"symbol": "line-ns-open", "size": 9, "color": GREY}, textfont={"size": 10},
            textposition=places, hovertemplate="named shape %{text}<extra></extra>",
        )  # fmt: skip


def named_shapes(study: StudyTable, rows: pd.DataFrame, cost: Cost) -> dict[str, float]:
    """The cost of each named shape with the teacher's vocabulary, as far as study.json or a student tells it."""
    column = cost.column
    own = rows[rows["architecture"].isin(list(SHAPES))].groupby("architecture")[column].median().dropna()
    counted = {name: costs[column] for name, costs in study.meta.named_shapes.items() if column in costs}
    return {str(name): float(value) for name, value in {**own, **counted}.items()}
