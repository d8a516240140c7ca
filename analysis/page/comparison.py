"""The section of a comparative study: its claims, its table, the tests, what was tuned; as HTML and as Markdown."""

from collections.abc import Sequence
from html import escape

import pandas as pd

from analysis.page import pieces
from analysis.statistics.comparison import (
    Claim,
    Difference,
    against_best,
    cells,
    claims,
    effects,
    outcomes,
    ranking,
    tuned,
)
from analysis.study.table import StudyTable
from analysis.words import MISSING, WITHOUT_TEACHER, decimal, percent, plural

Grid = tuple[list[str], list[tuple[str, list[tuple[str, str, bool]]]]]
"""(heads, (row, its cells: value, small print, whether it is the best of its column))."""


def comparison_section(study: StudyTable) -> str:
    """Everything the comparison says; empty for a search."""
    found = outcomes(study)
    if found.empty:
        return ""
    heads, lines = grid(found)
    rows = [
        pieces.row(
            escape(name),
            [pieces.under(f"<b>{value}</b>" if best else value, small) for value, small, best in line],
            "reference" if name.startswith(WITHOUT_TEACHER) else "",
        )
        for name, line in lines
    ]
    body = _claims_html(asked(study, found)) + pieces.table(["", *map(escape, heads)], rows, kind="sticky")
    body += "".join(f'<p class="note">{escape(line)}</p>\n' for line in notes(study, found))
    return pieces.section("The comparison", escape(lead(study, found)), body)


def asked(study: StudyTable, found: pd.DataFrame) -> Sequence[Claim]:
    """The claims; none where the study has differences for none of them, as one that was promoted."""
    every = claims(study, found)
    return every if any(claim.evidence for claim in every) else []


def _claims_html(found: Sequence[Claim]) -> str:
    if not found:
        return ""
    rows = [
        pieces.row(
            pieces.under(escape(claim.text), "<br>".join(escape(told(each)) for each in claim.evidence)),
            [f"<b>{escape(claim.answer)}</b>"],
        )
        for claim in found
    ]
    return pieces.table(["claim, and the differences it rests on (95 % intervals)", "here"], rows, kind="claims")


def lead(study: StudyTable, found: pd.DataFrame) -> str:
    """What is compared, in a sentence."""
    assert study.meta.comparison is not None, "outcomes are those of a comparison"
    facts = study.meta.comparison
    where = "test" if len(study.test_scores) else "dev"
    return (
        f"{plural(found['row'].nunique(), 'way')} to learn on {plural(found['student'].nunique(), 'student')}, "
        f"{plural(len(facts.seeds), 'seed')} each, {study.meta.train_tokens:,} tokens each. Numbers are the mean "
        f"share of the teacher's gain recovered on the {where} splits, with 95 % intervals from the noise between "
        "seeds, pooled over all cells; the best of each column is bold."
    )


def grid(found: pd.DataFrame) -> Grid:
    """The table of the study: rows by their mean over the students that all have, students by size."""
    table = cells(found).set_index(["row", "student"])
    sizes = found.groupby("student")["parameters"].min().sort_values()
    students = [str(student) for student in sizes.index]
    best = table["mean"].groupby("student").idxmax().to_dict()
    means, others = ranking(found), against_best(found)
    order = [*means.index, *(row for row in found["row"].unique() if row not in means.index)]
    lines = []
    for name in order:
        line = []
        for student in students:
            if (name, student) not in table.index:
                line.append((MISSING, "", False))
                continue
            cell = table.loc[(name, student)]
            interval = f"{cell['low']:.2f} to {cell['high']:.2f}" if cell["low"] == cell["low"] else ""
            line.append((decimal(cell["mean"]), interval, best[student] == (name, student)))
        mean = means.get(name)
        behind = others.get(name)
        beyond = "" if behind is None else f"-{behind.mean:.3f} (p {_p(behind.p)})"
        line.append((decimal(mean), "", bool(len(means)) and name == means.index[0]))
        line.append((beyond or MISSING, "", False))
        lines.append((str(name), line))
    return [*students, "mean", "behind the best"], lines


def told(difference: Difference) -> str:
    """'mha, layer 5 - hs, last: +0.020 (0.010 to 0.030), p 0.004, 9 pairs'."""
    interval = f"{difference.low:+.3f} to {difference.high:+.3f}"
    return (
        f"{difference.first} - {difference.second}: {difference.mean:+.3f} ({interval}), p {_p(difference.p)}, "
        f"{plural(difference.pairs, 'pair')}"
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def notes(study: StudyTable, found: pd.DataFrame) -> list[str]:
    """What a reader must know to read the table."""
    lines = []
    if found["row"].nunique() > 1:
        lines.append(
            "Differences are paired by student and seed (t-test), corrected by Holm's method among the comparisons of "
            "one question. Where a method has several rows, the one with the best dev quality is used in the claims."
        )
    facts, rates = study.meta.comparison, tuned(study)
    if facts is not None and len(rates):
        several = rates["initialisation"].nunique() > 1
        chosen = ", ".join(
            f"{row.method}{f' ({row.initialisation} start)' if several else ''} {row.learning_rate:g}"
            for row in rates[rates.chosen].itertuples()
        )
        tried = ", ".join(f"{rate:g}" for rate in facts.learning_rates)
        on = ", ".join(facts.tuned_on)
        lines.append(
            f"Learning rates were chosen per method and start from {tried} on {on}, by dev quality under a seed that "
            f"is not compared: {chosen}. The rate of a method's first configuration serves all of them."
        )
    else:
        lines.append("Learning rates were not tuned: all ran at the one of the spec.")
    moved = effects(found)
    if len(moved) > 1:
        listed = "; ".join(
            f"{row.factor} {percent(row.share)} (its {row.levels} means lie within {row.range:.3f})"
            for row in moved.itertuples()
        )
        lines.append(f"Shares of the variance of the score: {listed}.")
    return lines


def comparison_text(study: StudyTable) -> str:
    """The section as Markdown, which reads in a terminal as well; empty for a search."""
    found = outcomes(study)
    if found.empty:
        return ""
    heads, lines = grid(found)
    text = [lead(study, found), "", _line(["", *heads]), _line(["---"] * (len(heads) + 1))]
    for name, line in lines:
        marked = [f"**{value}**" if best else value for value, _, best in line]
        text.append(
            _line([name, *(f"{v} ({small})" if small else v for v, (_, small, _) in zip(marked, line, strict=True))])
        )
    listed = asked(study, found)
    text += ["", _line(["claim", "here", "difference, 95 % interval"]), _line(["---"] * 3)] if listed else []
    for claim in listed:
        text.append(_line([claim.text, f"**{claim.answer}**", "<br>".join(map(told, claim.evidence)) or MISSING]))
    return "\n".join([*text, "", *notes(study, found)])


def _line(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"
