"""The front as a table for the terminal: raw scores, every cost, teacher and floor; what does not fit is named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Group
from rich.text import Text

from analysis.page.text import noise_text, verdict, worst_task
from analysis.selection.front import aim, front_for, knee
from analysis.study.scoring import doubts, layer_of, protocols_text
from analysis.study.table import StudyTable
from analysis.words import MISSING, cost_cell, decimal, student_name, teacher_share
from spaces.records.costs import Cost
from spaces.records.objectives import QUALITY, Aim, Quality
from spaces.records.shares import WEAK

GAP = 2


@dataclass(frozen=True)
class Head:
    """A column of the table: its head and its cells."""

    name: str
    cells: tuple[str, ...]
    rank: float
    """where there is no room, columns of a larger one go first; 0: never"""

    @property
    def width(self) -> int:
        """Characters, with the gap before it."""
        return max(len(self.name), *map(len, self.cells)) + GAP


def front_text(study: StudyTable, objectives: Sequence[str] | None = None, width: int | None = None) -> Group:
    """The front as a table under the verdict; `width` characters of room for the table, None: all it needs.

    Lines of the table never wrap: who prints more than the console has room for prints without cropping.
    """
    own = aim(study, objectives)
    members = front_for(study, own)
    warnings = [Text(f"{WEAK} {line}", style="yellow") for line in study.warnings]
    notes = [Text(note, style="yellow") for note in study.notes]
    texts = [Text(verdict(study, objectives), style="bold")]
    if members.empty:
        return Group(*texts, *warnings, *notes)
    shown, dropped = fitting(columns_of(study, members, own), width)
    texts += _lines(shown, len(members))
    if dropped:
        names = ", ".join(head.name for head in dropped)
        texts.append(Text(f"+ {len(dropped)} more: {names} (--wide shows them, --csv and --json all)", style="dim"))
    warnings += [Text(line, style="yellow") for line in doubts(study, members)]
    trust = [Text(line, style="dim") for line in (scored_text(study, members), noise_text(study))]
    return Group(*texts, *warnings, *trust, *notes)


def scored_text(study: StudyTable, members: pd.DataFrame) -> str:
    """How the scores of the table came about."""
    read = any(layer_of(study, row, task) is not None for _, row in members.iterrows() for task in study.tasks)
    return protocols_text(study) + (" L3 after a score: read from layer 3; L0 are the word embeddings." if read else "")


def _lines(heads: Sequence[Head], members: int) -> list[Text]:
    """The table, a line each; head, teacher and floor are dim."""
    gap, lines = " " * GAP, []
    for number, cells in enumerate(zip(*((head.name, *head.cells) for head in heads), strict=True)):
        padded = [
            cell.ljust(head.width - GAP) if head.name == "student" else cell.rjust(head.width - GAP)
            for head, cell in zip(heads, cells, strict=True)
        ]
        style = "" if 0 < number <= members else "dim"
        lines.append(Text(gap.join(padded).rstrip(), style=style, no_wrap=True, overflow="ignore"))
    return lines


def fitting(heads: Sequence[Head], width: int | None) -> tuple[list[Head], list[Head]]:
    """(columns that fit into the width, in their order; the others). Those of rank 0 are shown whatever the width."""
    room = float("inf") if width is None else width + GAP
    kept = []
    for head in sorted(heads, key=lambda head: head.rank):
        if head.rank == 0 or head.width <= room:
            kept.append(head)
            room -= head.width
    return [head for head in heads if head in kept], [head for head in heads if head not in kept]


def columns_of(study: StudyTable, members: pd.DataFrame, own: Aim) -> list[Head]:
    """What is shown of the front, of the teacher and of the floor: raw scores, then their mean share, then costs."""
    meta, teacher = study.meta, study.meta.teacher
    best = members.index[knee(members, own.objectives)]
    names = [f"{student_name(row)}{', knee' if index == best else ''}" for index, row in members.iterrows()]
    records = members.to_dict("records")
    heads = [
        Head("trial", (*(str(row["trial"]) for row in records), "", ""), 0),
        Head("student", (*names, f"teacher {teacher.architecture.name}", "floor"), 0),
    ]
    worst = worst_task(study, members.loc[best])  # which the verdict names
    heaviest = max(meta.weights.values())
    for task, facts in meta.tasks.items():
        layers = [*(layer_of(study, row, task) for row in records), facts.teacher_layer, None]
        scores = [*(row[f"score_{task}"] for row in records), facts.teacher, facts.floor]
        some = any(layer is not None for layer in layers)
        cells = [
            decimal(score) + ((f" L{layer}" if layer is not None else "   ") if some else "")
            for score, layer in zip(scores, layers, strict=True)
        ]
        rank = 1 if task == worst else 3 - facts.weight / heaviest
        heads.append(Head(f"{task}{WEAK}" if task in meta.weak_tasks else task, tuple(cells), rank))
    heads.append(Head("quality", (*(decimal(row["quality"]) for row in records), "1.000", "0.000"), 0))
    if members["torch_quality"].notna().any():
        heads.append(Head("in torch", (*(decimal(row["torch_quality"]) for row in records), "1.000", "0.000"), 1))
    if members["share_low"].notna().any():
        heads.append(Head("95 %", (*(_range(row) for row in records), "", ""), 3))
    if (members["seeds"] > 1).any():
        heads.append(Head("seeds", (*(str(row["seeds"]) for row in records), "", ""), 3))
    for objective in own.objectives:
        if isinstance(objective, Quality) and objective != QUALITY:
            heads.append(Head(objective.label, (*(decimal(row[objective.column]) for row in records), "", ""), 0))
    for cost in dict.fromkeys([*own.costs, *study.costs]):
        heads += _cost_columns(cost, [*records, teacher.costs], 0 if cost in own.costs else 4)
    return heads


def _range(row: dict[str, Any]) -> str:
    return f"{row['share_low']:.2f}..{row['share_high']:.2f}"


def _cost_columns(cost: Cost, rows: Sequence[Mapping[str, Any]], rank: float) -> list[Head]:
    """Of students and, last, the teacher."""
    heads = [Head(cost.head, (*(cost_cell(cost, row) for row in rows), MISSING), rank)]
    if cost.inverse:
        teacher = rows[-1].get(cost.column)
        times = [teacher_share(cost, row.get(cost.column), teacher) or MISSING for row in rows]
        heads.append(Head(cost.inverse, (*times, MISSING), max(rank, 3)))
    return heads
