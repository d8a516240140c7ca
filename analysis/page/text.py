"""What a study says in words: the verdict and the terminal's table of the front, shared by command line and report."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.selection.front import aim, front, knee
from analysis.statistics.effects import failures
from analysis.study.table import StudyTable
from analysis.words import (
    MISSING,
    WITHOUT_TEACHER,
    cost_text,
    decimal,
    in_teacher_units,
    percent,
    plural,
    student_name,
    teacher_share,
)

MAX_TASK_COLUMNS = 4
HEADLINE_COSTS = 2
"""Told in the verdict where the study has fewer objectives that are costs."""


def verdict(study: StudyTable) -> str:
    """What came out, in one or two sentences."""
    trials, finished = study.trials, study.finished
    if trials.empty:
        return f"No trial has ended yet; {plural(study.meta.num_trials, 'trial')} planned."
    if finished.empty:
        reasons = failures(study)
        common = f" Most often: {reasons.iloc[0]['reason']}." if len(reasons) else ""
        return f"None of {plural(len(trials), 'trial')} finished.{common}"
    members = front(study)
    if members.empty:
        needed = f"with all of {', '.join(study.meta.objectives)} measured"
        bound = f" within the limits ({aim(study).limits_text})" if aim(study).limits else ""
        return f"{plural(len(finished), 'trial')} finished, none {needed}{bound}."
    if finished["quality"].max() <= 0:
        return (
            f"No student is better than an untrained encoder: the best of {len(finished):,} has quality "
            f"{finished['quality'].max():.3f}. Train longer, or look at the learning curves and failures."
        )
    best, students = members.iloc[knee(members, aim(study).objectives)], study.students
    opening = (
        f"{len(members)} of {plural(len(students), 'finished student')} are beaten by no other; the knee is"
        if len(members) > 1
        else f"One student beats the other {len(students) - 1:,}:"
        if len(students) > 1
        else "The only finished student is"
    )
    return f"{opening} {student_name(best)} (trial {best['trial']}), {_in_units_of_the_teacher(study, best)}."


def _in_units_of_the_teacher(study: StudyTable, row: pd.Series) -> str:
    teacher = study.meta.teacher.costs
    text = f"which recovers {percent(row['quality'])}{_interval(row)} of the teacher's gain over an untrained encoder"
    shown = list(dict.fromkeys([*study.meta.aim.costs, *study.costs]))[: max(HEADLINE_COSTS, len(study.meta.aim.costs))]
    costs = [in_teacher_units(cost, row[cost.column], teacher.get(cost.column), "its") for cost in shown]
    if costs := [words for words in costs if words]:
        text += f" at {', '.join(costs[:-1])} and {costs[-1]}" if len(costs) > 1 else f" at {costs[0]}"
    baseline = study.students[study.students["method"] == WITHOUT_TEACHER]
    alike = baseline[baseline["parameters"] <= row["parameters"]]["quality"].max()
    if row["method"] != WITHOUT_TEACHER and alike == alike:
        text += f". The best of that size without the teacher recovers {percent(alike)}"
    return text


def _interval(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return ""
    return f" (95 % interval {100 * row['low']:.0f} to {100 * row['high']:.0f} %)"


def noise_text(study: StudyTable) -> str:
    """How far quality can be trusted, in a sentence or two."""
    noise = study.noise
    if not noise.known:
        return (
            "One seed per configuration: no interval can be given (stillhouse confirm measures the noise; in a "
            "recorded study two seeds differed by more than 0.14 in one of twenty pairs)."
        )
    several = plural(noise.groups, "configuration")
    text = (
        f"Seeds of one configuration differ by {noise.std:.3f} (standard deviation, from {several} with several seeds"
    )
    text += f", {noise.dof} degrees of freedom); intervals are 95 %, from that noise."
    if rivals := int((front(study)["rivals"] > 0).sum()):
        text += f" {rivals} on the front may be there by chance: a cheaper student is as good, as far as seeds tell."
    return text


def front_text(study: StudyTable, objectives: Sequence[str] | None = None) -> Group:
    """The front as a table for the terminal, with teacher and floor for scale, under the verdict."""
    parts: list[Text | Table] = [Text(verdict(study), style="bold")]
    members = front(study, objectives)
    if len(members):
        parts += [_front_table(study, members), Text(noise_text(study), style="dim")]
    return Group(*parts, *(Text(note, style="yellow") for note in study.notes))


def _range(costs: Mapping[str, Any]) -> str:
    return f"{costs['low']:.2f}..{costs['high']:.2f}" if "low" in costs else ""


def _front_table(study: StudyTable, members: pd.DataFrame) -> Table:
    teacher, tasks = study.meta.teacher, study.meta.tasks
    shown = list(tasks)[:MAX_TASK_COLUMNS]
    table = Table(box=None, pad_edge=False, header_style="dim")
    intervals = members["low"].notna().any()
    for name in (
        "trial",
        "student",
        "quality",
        *(["95 %", "seeds"] if intervals else []),
        *(head for cost in study.costs for head in (cost.head, cost.inverse) if head),
        *shown,
    ):
        table.add_column(Text(name), justify="left" if name == "student" else "right", no_wrap=True)

    def row(first: str, name: str, quality: float, costs: dict[str, Any], scores: list[Any], style: str = "") -> None:
        shares = []
        for cost in study.costs:
            shares.append(cost_text(cost, costs.get(cost.column)))
            if cost.inverse:
                own = teacher_share(cost, costs.get(cost.column), teacher.costs.get(cost.column))
                shares.append(own or MISSING)
        cells = [
            first,
            name,
            decimal(quality),
            *([_range(costs), f"{costs['seeds']}" if "seeds" in costs else ""] if intervals else []),
            *shares,
            *(decimal(score) for score in scores),
        ]
        table.add_row(*(Text(cell) for cell in cells), style=style)

    for _, member in members.iterrows():
        scores = [member[f"score_{task}"] for task in shown]
        row(str(member["trial"]), student_name(member), member["quality"], member.to_dict(), scores)
    shape = f"teacher {teacher.architecture.name}"
    row("", shape, 1.0, dict(teacher.costs), [tasks[task].teacher for task in shown], "dim")
    row("", "floor", 0.0, {}, [tasks[task].floor for task in shown], "dim")
    return table
