"""What distillation buys: the best student of each shape beside what costs no teacher, or no training."""

from html import escape

import pandas as pd

from analysis.page import pieces
from analysis.page.text import lowered
from analysis.study.table import StudyTable
from analysis.words import MISSING, WITHOUT_TEACHER, decimal, number
from spaces.space.starts import LAYERS_OF_STARTS
from spaces.students.transfer import UNTRAINED

KEPT = {
    "first": "the teacher's first layers", "uniform": "its layers, evenly spaced",
    "removal": "those it misses most",
}  # fmt: skip


def baselines(study: StudyTable) -> pd.DataFrame:
    """One row per shape of which a baseline is known, smallest first; columns are dev quality, NaN where not measured.

    `distilled` is the best student of the shape after its last step, `without_teacher` the best that was trained by
    masked words or labels alone on the same budget, `first` and `uniform` the teacher cut to that shape (projected, if
    narrower) and not trained.
    """
    rows = study.baselines[study.baselines["split"] == "dev"]
    cut = study.mean_shares(rows, ["architecture", "kept"]).unstack()
    students = study.students[study.students["status"] == "finished"]
    left = students[students["method"] == UNTRAINED]
    left = (
        left.assign(kept=left["initialisation"].map(LAYERS_OF_STARTS))
        .groupby(["architecture", "kept"])["quality"]
        .max()
    )
    cut = left.unstack().combine_first(cut)
    students = students[students["method"] != UNTRAINED]
    ended = students["trained_quality"].fillna(students["quality"])
    students = students.assign(alone=students["method"].isin(WITHOUT_TEACHER), quality=ended)
    best = students.groupby(["architecture", "alone"])["quality"].max().unstack()
    table = pd.DataFrame({
        "distilled": best.get(False, pd.Series(dtype=float)),
        "without_teacher": best.get(True, pd.Series(dtype=float)),
        **{kept: cut.get(kept, pd.Series(dtype=float)) for kept in KEPT},
    })  # fmt: skip
    known = table[["without_teacher", *KEPT]].notna().any(axis=1)
    sizes = study.finished.groupby("architecture")["parameters"].min()
    table = table[known & table["distilled"].notna()]
    return table.assign(parameters=sizes.reindex(table.index)).sort_values("parameters")


def baselines_section(study: StudyTable) -> str:
    """The table as HTML; empty when nothing was measured."""
    table = baselines(study)
    if table.empty:
        return ""
    rows = [
        pieces.row(
            pieces.under(escape(str(shape)), f"{number(row['parameters'])} parameters"),
            [decimal(row[name]) for name in ("distilled", "without_teacher", *KEPT)],
        )
        for shape, row in table.iterrows()
    ]
    rows.append(pieces.row("teacher, as it is", ["1.000", MISSING, MISSING, MISSING], "reference rule"))
    rows.append(pieces.row("floor (untrained)", ["0.000", MISSING, MISSING, MISSING], "reference"))
    lead = (
        "Quality on the dev splits of the best student of each shape, beside the best that was trained without the "
        "teacher (by masked words or labels, same budget; a dash when the study had none), and the teacher cut to the "
        "same shape without any training, its states projected where the shape is narrower."
    )
    lead = f"{lead} {lowered(study)}".strip()
    head = ["", "distilled", "no teacher, same budget", *KEPT.values()]
    return pieces.section("What distillation gains", lead, pieces.table(head, rows, kind="sticky"))
