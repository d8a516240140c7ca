"""What is told of a student's point in the figure of the front: under the mouse, and once it is pinned.

All text from a study is escaped, since plotly reads tags in text.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from analysis.study.table import StudyTable
from analysis.words import config_of, cost_text, number, student_name
from spaces.records.costs import COSTS
from spaces.records.objectives import QUALITY

PINNED = {"held_out_loss": ("held-out loss", 4), "train_tokens": ("train tokens", 0), "train_s": ("training, s", 1)}
"""Columns of a pinned trial beside quality and costs: label and decimals."""


def short(text: str, length: int = 60) -> str:
    """Escaped, and no longer than a legend bears."""
    return escape(text if len(text) <= length else text[: length - 1] + "…")


def hover(row: dict[str, Any], columns: Sequence[str]) -> str:
    """The whole configuration of a student and its numbers, as plotly's text."""
    lines = [f"<b>{short(student_name(row))}</b> (trial {row['trial']})", _quality_text(row)]
    costs = [(cost, row[cost.column]) for cost in COSTS.values() if pd.notna(row[cost.column])]
    lines.append(", ".join(f"{cost_text(cost, value)} {cost.unit}" for cost, value in costs))
    lines += [f"{axis.replace('_', ' ')}: {short(value)}" for axis, value in config_of(row, columns).items()]
    return "<br>".join(lines)


class Hovers:
    """The texts of `hover` by trial, each made once: all views of a figure draw the same students."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self._known: dict[int, str] = {}

    def of(self, rows: pd.DataFrame) -> list[str]:
        """One for each row."""
        new = rows[~rows["trial"].isin(list(self._known))]
        self._known |= {row["trial"]: hover(row, self.columns) for row in new.to_dict("records")}
        return [self._known[trial] for trial in rows["trial"]]


def _quality_text(row: dict[str, Any]) -> str:
    text = f"quality {row['quality']:.3f}"
    if row.get("low") == row.get("low") and row.get("low") is not None:
        text += f", 95 % {row['low']:.3f} to {row['high']:.3f}"
    if row.get("seeds", 1) > 1:
        text += f", {row['seeds']} seeds"
    if row["status"] == "stopped":
        text += f" when stopped after {number(row['train_tokens'])} tokens"
    return text


def pinnable(study: StudyTable, trials: Sequence[int]) -> dict[str, Any]:
    """What the page shows of pinned trials: labels, one row of texts per trial, and where it lies in each view."""
    rows = pd.concat([study.students, study.stopped]).drop_duplicates("trial").set_index("trial", drop=False)
    wanted = rows.loc[[trial for trial in trials if trial in rows.index]]
    records = wanted.to_dict("records")
    configs = [config_of(record, study.meta.config_columns) for record in records]
    axes = [axis for axis in dict.fromkeys(axis for config in configs for axis in config)]
    costs = {cost.column: (cost.title, cost.decimals) for cost in COSTS.values()}
    shown = {QUALITY.column: (QUALITY.label, QUALITY.decimals), **costs, **PINNED}
    numbers = {name: each for name, each in shown.items() if wanted[name].notna().any()}
    labels = ["student", *(label for label, _ in numbers.values()), *study.tasks, "seeds",
              *(axis.replace("_", " ") for axis in axes)]  # fmt: skip
    table = {}
    for record, config in zip(records, configs, strict=True):
        cells = [student_name(record)]
        for name, (_, places) in numbers.items():
            cells.append(f"{record[name]:,.{places}f}" if pd.notna(record[name]) else "")
        cells += [f"{record[f'score_{task}']:.3f}" if pd.notna(record[f"score_{task}"]) else "" for task in study.tasks]
        cells += [f"{record['seeds']:.0f}" if record.get("seeds", 0) >= 1 else ""]
        table[str(record["trial"])] = cells + [config.get(axis, "") for axis in axes]
    columns = [QUALITY.column, *costs]
    points = {str(r["trial"]): {c: None if pd.isna(r[c]) else float(r[c]) for c in columns} for r in records}
    return {"labels": labels, "rows": table, "points": points}
