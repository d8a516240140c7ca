"""Numbers, shares and students as text, for figures, pages and the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from spaces.records.costs import Cost
from spaces.students.transfer import UNTRAINED

MISSING = "-"
UNSTEADY = "~"
"""Before what moved while it was measured."""
WITHOUT_TEACHER = ("mlm", "labels")
"""The methods that learn without the teacher: what distillation has to beat."""


def number(value: float | None, digits: int = 3, missing: str = MISSING) -> str:
    """Three significant digits with k, M or G; plain below a thousand; a dash when not measured."""
    if value is None or pd.isna(value):
        return missing
    for limit, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit * 0.9995:
            return f"{value / limit:#.{digits}g}".rstrip(".") + unit
    return f"{value:.{digits}g}"


def decimal(value: float | None, places: int = 3, missing: str = MISSING) -> str:
    """Fixed decimals, so that a column of them lines up; a dash when not measured."""
    return missing if value is None or pd.isna(value) else f"{value:.{places}f}"


def percent(value: float | None, missing: str = MISSING) -> str:
    """A share in whole percent."""
    return missing if value is None or pd.isna(value) else f"{value * 100:.0f} %"


def share_text(share: float, low: float, high: float) -> str:
    """'86 % (69 to 103 %)': a share with its 95 % interval, where that is known."""
    return percent(share) + (f" ({low * 100:.0f} to {high * 100:.0f} %)" if low == low else "")


def ratio(numerator: float | None, denominator: float | None) -> float:
    """The quotient, NaN when either is unknown or the denominator is 0."""
    if numerator is None or not denominator or pd.isna(numerator) or pd.isna(denominator):
        return float("nan")
    return numerator / denominator


def cost_text(cost: Cost, value: float | None) -> str:
    """A value of a cost: '14.2 M' of a count, '5.23' of what is measured; a dash when it was not."""
    return decimal(value, cost.decimals) if cost.decimals else number(value)


def cost_cell(cost: Cost, row: Mapping[str, Any] | pd.Series) -> str:
    """The cost of a row, '~5.23' where it moved while it was measured."""
    return f"{'' if cost.is_steady(row) else UNSTEADY}{cost_text(cost, row.get(cost.column))}"


def teacher_share(cost: Cost, value: float | None, teacher: float | None) -> str:
    """A cost as people relate it to the teacher's: '22 %', or '5.9x' where they tell the reciprocal; '' if unknown."""
    if not cost.inverse:
        return percent(ratio(value, teacher), "")
    times = ratio(teacher, value)
    return f"{times:.1f}x" if times == times else ""


def in_teacher_units(cost: Cost, value: float | None, teacher: float | None, whose: str) -> str:
    """'22 % of its parameters', '5.9 times its speed' with whose = 'its'; '' if unknown."""
    share = teacher_share(cost, value, teacher)
    if not share:
        return ""
    if cost.inverse:
        return f"{share.removesuffix('x')} times {whose} {cost.inverse}"
    return f"{share} of {whose} {cost.label}"


def plural(count: int, noun: str) -> str:
    """'1 trial', '2 trials'."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def student_name(row: Mapping[str, Any] | pd.Series) -> str:
    """'3x192 by mha', '3x192 by mha, start kept' where training did not help, or '3x192 untrained'.

    ', as trial 7 left it' where it did not help a student that trial 7 had trained.

    ', int8' at the end where the study has students in several precisions.
    """
    precision = row.get("precision")
    file = f", {precision}" if isinstance(precision, str) else ""
    if row["method"] == UNTRAINED:
        return f"{row['architecture']} {UNTRAINED}{file}"
    kept = ", start kept" if row.get("kept_tokens") == 0 and not row.get("seeds", 1) > 1 else ""
    if kept and (parent := row.get("parent")) is not None and not pd.isna(parent):
        kept = f", as trial {int(parent)} left it"
    return f"{row['architecture']} by {row['method']}{kept}{file}"


def config_of(row: Mapping[str, Any] | pd.Series, columns: Sequence[str]) -> dict[str, str]:
    """The axes that the trial has, as text; `columns`: StudyMeta.config_columns."""
    config = {}
    for axis in columns:
        value = row[axis]
        if pd.isna(value) or value == "":
            continue
        config[axis] = value if isinstance(value, str) else f"{value:.3g}" if axis == "learning_rate" else f"{value:g}"
    return config
