"""The section of the page about languages: what each student on the front recovers in each of them."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd

from analysis.figures.style import evenly
from analysis.page import pieces
from analysis.study.table import StudyTable
from analysis.words import percent, plural, student_name
from spaces.records.shares import NORMAL_95, mean_error, mean_share

MAX_ROWS = 60


def language_section(study: StudyTable, members: pd.DataFrame) -> str:
    """Mean share recovered by language, the mean over tasks, the worst language in bold; empty without languages."""
    tasks_of = study.meta.languages
    if not tasks_of or members.empty:
        return ""
    lines = []
    for _, member in evenly(members, MAX_ROWS).iterrows():
        shares = language_shares(study, member)
        known = {code: share for code, share in shares.items() if np.isfinite(share)}
        worst = min(known, key=lambda code: known[code], default="")
        cells = [
            pieces.under(f"<strong>{percent(each)}</strong>" if code == worst else percent(each), reach)
            for (code, each), reach in zip(shares.items(), language_reaches(study, member, shares), strict=True)
        ]
        name = pieces.under(escape(student_name(member)), f"trial {member['trial']}")
        lines.append(pieces.row(name, [percent(member["quality"]), *cells, escape(worst)]))
    counts = [f"{escape(code)}<small>{plural(len(tasks), 'task')}</small>" for code, tasks in tasks_of.items()]
    lead = (
        "Mean share of the teacher's gain recovered on the dev splits of each language's tasks, with 95 % by the "
        "number of examples; the worst language in bold. The mean is quality: over tasks, so a language with more "
        "tasks weighs more."
    )
    return pieces.section(
        "By language", lead, pieces.table(["student", "mean", *counts, "worst"], lines, kind="sticky")
    )


def language_shares(study: StudyTable, member: pd.Series) -> dict[str, float]:
    """Language -> mean share recovered over its tasks, as quality is one."""
    return {
        code: mean_share({task: member[f"recovered_{task}"] for task in tasks}, study.meta.weights)
        for code, tasks in study.meta.languages.items()
    }


def language_reaches(study: StudyTable, member: pd.Series, shares: Mapping[str, float]) -> list[str]:
    """'26 to 66 %' for each language, by the number of examples; '' where a task does not tell it."""
    found = []
    for code, tasks in study.meta.languages.items():
        reach = NORMAL_95 * mean_error({task: member[f"error_{task}"] for task in tasks}, study.meta.weights)
        low, high = shares[code] - reach, shares[code] + reach
        found.append(f"{low * 100:.0f} to {high * 100:.0f} %" if low == low else "")
    return found
