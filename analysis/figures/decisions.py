"""What freeze and thaw decided: when each trial was tried, paused, thawed and ended, and against what."""

import itertools
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.style import ABOVE, GREY, colours_of, style
from analysis.study.table import StudyTable
from analysis.words import student_name

MAX_TRIALS = 300
"""Trials that are drawn, the latest ones; beyond that a line is thinner than a pixel."""
MARKS = {"try": "circle-open", "thaw": "triangle-up", "pause": "line-ns-open", "end": "circle"}
"""Symbols of the actions; going on past a rung is no mark, the line goes on."""
WORDS = {"try": "tried", "thaw": "thawed", "pause": "paused", "go_on": "goes on", "end": "at its end"}


def decisions_figure(study: StudyTable) -> go.Figure | None:
    """A line for each trial over the decisions of the study, full where it ran and dotted where it was paused.

    None under another schedule.
    """
    decided = study.decisions.sort_values("decision")
    if decided.empty:
        return None
    kept = sorted(decided["trial"].unique())[-MAX_TRIALS:]
    decided = decided[decided["trial"].isin(kept)]
    rows = study.trials.set_index("trial", drop=False)
    methods = rows["method"].reindex(kept).fillna("under way")
    colours = colours_of(methods.value_counts().index.tolist())
    figure = go.Figure()
    last = int(decided["decision"].max())
    spans = [span for trial, own in decided.groupby("trial") for span in spans_of(int(trial), own, last)]
    _add_lines(figure, [span for span in spans if span[3]], GREY, "waits", {"dash": "dot", "width": 1})
    for method, colour in colours.items():
        runs = [span for span in spans if not span[3] and methods[span[0]] == method]
        _add_lines(figure, runs, colour, escape(str(method)), {"width": 3})
    for action, symbol in MARKS.items():
        own = decided[decided["action"] == action]
        figure.add_scatter(
            x=own["decision"], y=own["trial"], mode="markers", name=WORDS[action],
            marker={
                "symbol": symbol, "size": 8, "color": [colours[str(methods[trial])] for trial in own["trial"]],
                "line": {"width": 2, "color": [colours[str(methods[trial])] for trial in own["trial"]]},
            },
            customdata=[told(row, rows) for row in own.to_dict("records")],
            hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    style(figure, 130 + 16 * min(max(len(kept), 12), 40), "trial")
    figure.update_layout(legend={**ABOVE, "entrywidth": 90}, margin={"t": 84})
    figure.update_xaxes(title_text="decision", rangemode="tozero")
    figure.update_yaxes(range=[max(kept) + 1, min(kept) - 1], nticks=12)
    return figure


def spans_of(trial: int, own: pd.DataFrame, last: int) -> list[tuple[int, int, int, bool]]:
    """(trial, from decision, to decision, whether it is paused there); what has not ended reaches to the last one."""
    steps = list(zip(own["decision"], own["action"], strict=True))
    if steps[-1][1] != "end":
        steps.append((last, "end"))
    return [
        (trial, int(since), int(until), action == "pause") for (since, action), (until, _) in itertools.pairwise(steps)
    ]


def _add_lines(
    figure: go.Figure, spans: list[tuple[int, int, int, bool]], colour: str, name: str, line: dict[str, Any]
) -> None:
    if not spans:
        return
    x = [place for _, since, until, _ in spans for place in (since, until, None)]
    y = [place for trial, *_ in spans for place in (trial, trial, None)]
    figure.add_scatter(x=x, y=y, mode="lines", name=name, line={"color": colour, **line}, hoverinfo="skip")


def told(row: dict[str, Any], trials: pd.DataFrame) -> str:
    """What a decision was made on, over a few lines."""
    trial = int(row["trial"])
    name = escape(student_name(trials.loc[trial])) if trial in trials.index else "a student"
    lines = [f"{name} (trial {trial}): {WORDS[row['action']]}, after {row['rung']:.0f} rungs"]
    if row["gain"] == row["gain"] and row["gain"] is not None:
        lines.append(f"may add {row['gain']:.3f} of hypervolume for {row['price']:.2f} trials")
    if row["rival_gain"] == row["rival_gain"] and row["rival_gain"] is not None:
        other = "a new configuration" if row["rival"] != row["rival"] else f"trial {row['rival']:.0f}"
        verb = "taken instead" if row["action"] == "pause" else "second"
        lines.append(f"{verb}: {other}, {row['rival_gain']:.3f} for {row['rival_price']:.2f}")
    if row["compared"] == row["compared"] and row["compared"] is not None:
        lines.append(f"{row['compared']:.0f} options were compared")
    return "<br>".join(lines)
