"""How the numbers of a study came about: protocols, layers that were read, what is too good or too unsteady."""

from typing import Any

import pandas as pd

from analysis.study.table import StudyTable
from analysis.words import UNSTEADY, percent
from spaces.records.deploy import DeploySpec
from spaces.records.shares import weights_text

REMARKABLE = 1.1
"""Of the teacher's gain: beyond, it says more about the task than about the student."""


def layer_of(study: StudyTable, row: Any, task: str) -> int | None:
    """The layer that a student's score on a task was read from; None where none was chosen, or one by each seed."""
    layer = row.get(f"probe_layer_{task}")
    return None if pd.isna(layer) or row.get("seeds", 1) > 1 else int(layer)


def layer_text(study: StudyTable, row: Any, task: str) -> str:
    """'layer 0', or '' where none was chosen."""
    layer = layer_of(study, row, task)
    return "" if layer is None else f"layer {layer}"


def tasks_by_protocol(study: StudyTable) -> dict[str, list[str]]:
    """The tasks by how they are scored, both in the order of the spec."""
    found: dict[str, list[str]] = {}
    for task in study.tasks:
        found.setdefault(study.meta.protocol_of(task), []).append(task)
    return found


def protocols_text(study: StudyTable) -> str:
    """'Scored by probe: sst2, trec; by zero_shot: stsb.'"""
    words = "; ".join(f"by {protocol}: {', '.join(tasks)}" for protocol, tasks in tasks_by_protocol(study).items())
    index = "; the teacher embeds the documents, so that costs are those of a query"
    weights = weights_text(study.meta.weights)
    weighed = f" Weights in quality: {weights}." if weights else ""
    how = f"Scored {words}{index if study.meta.documents == 'teacher' else ''}.{weighed}" if words else ""
    return " ".join(filter(None, [how, deployed_text(study.meta.deploy)]))


def deployed_text(deploy: DeploySpec) -> str:
    """What is scored and measured of a student, where it is not the student in torch."""
    if not deploy.is_file:
        return ""
    scored = "Scores and costs of students are" if deploy.is_scored else "Costs are"
    return f"{scored} those of their file for {deploy.name}."


def doubts(study: StudyTable, members: pd.DataFrame) -> list[str]:
    """What a reader of these students should know of how they were scored and measured, in sentences."""
    found, below = [], {}
    for task in study.tasks:
        shares = {row["trial"]: row[f"recovered_{task}"] for _, row in members.iterrows()}
        if above := {trial: share for trial, share in shares.items() if share > REMARKABLE}:
            found.append(
                f"More than {percent(REMARKABLE)} of the teacher's gain on {task} "
                f"({_listed({trial: percent(share) for trial, share in above.items()})}): a sign that the task is "
                "remarkable, not the student."
            )
        layers = [(layer_of(study, row, task), row["num_layers"]) for _, row in members.iterrows()]
        if inner := sum(layer is not None and layer < last for layer, last in layers):
            below[task] = inner
    if below:
        listed = ", ".join(f"{count} on {task}" for task, count in below.items())
        found.append(
            f"Scores read below the last layer, which is not what a student gives by itself: {listed}. Its card says "
            'how to read it; [evaluation] layer = "last" scores the last layer only.'
        )
    return [*found, *moved(study, members)]


def moved(study: StudyTable, members: pd.DataFrame) -> list[str]:
    """Costs of these students and of the teacher that moved while they were measured, a sentence for each cost."""
    found, teacher = [], study.meta.teacher.costs
    for cost in study.costs:
        rows: dict[str, Any] = {f"trial {row['trial']}": row for _, row in members.iterrows()}
        rows = {whose: row for whose, row in {**rows, "the teacher": teacher}.items() if not cost.is_steady(row)}
        if rows:
            most = percent(max(row[cost.moves] for row in rows.values()))
            found.append(
                f"{UNSTEADY} {cost.label.capitalize()} moved by up to {most} while it was measured "
                f"({', '.join(rows)}): the machine was busy, and it is a guess. On an idle one: stillhouse profile "
                f"{study.folder}"
            )
    return found


def _listed(words: dict[int, str]) -> str:
    return ", ".join(f"trial {trial}: {text}" for trial, text in words.items())
