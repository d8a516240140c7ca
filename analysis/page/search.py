"""The sections of the page about the search: what mattered, whether it still improved, curves, failures, time.

Each takes a study and returns escaped HTML, empty when it has nothing to say.
"""

from dataclasses import asdict
from datetime import datetime
from html import escape

import pandas as pd

from analysis.figures import figures
from analysis.figures.decisions import decisions_figure
from analysis.page import pieces
from analysis.selection.front import hypervolume_history
from analysis.statistics.effects import LEAST_TRIALS, axis_importance, failures, importance_by_branch
from analysis.study.table import StudyTable
from analysis.words import percent, plural
from spaces.students.transfer import UNTRAINED

MAX_REASONS, MAX_BRANCHES = 20, 6


def importance_section(study: StudyTable) -> str:
    """Importance of the axes, over all trials and within each branch, from enough trials on."""
    table = axis_importance(study)
    if table is None:
        return ""
    lead = (
        "How far each axis decides whether a trial is among the best tenth (PED-ANOVA, shares of 100 % per objective; "
        f"from {LEAST_TRIALS} finished trials on). A guide to what to search next, not a test."
    )
    body = _importance_table(table)
    if branches := list(importance_by_branch(study).items())[:MAX_BRANCHES]:
        inner = "".join(f"<div><h3>{escape(str(m))}</h3>{_importance_table(each)}</div>\n" for m, each in branches)
        body += f'<details><summary>Within each method</summary><div class="panels">{inner}</div></details>\n'
    return pieces.section("Importance of the axes", lead, body)


def _importance_table(table: pd.DataFrame) -> str:
    rows = [
        pieces.row(escape(str(axis).replace("_", " ")), [_bar(share) for share in shares])
        for axis, shares in table.iterrows()
    ]
    return pieces.table(["axis", *map(escape, table.columns)], rows)


def parallel_section(study: StudyTable) -> str:
    """Every student as a line through its axes."""
    if len(study.students) < 3:
        return ""
    lead = "One line per student, from its configuration to its costs and quality; blue is better. Drag along an axis."
    if len(study.students) > figures.MAX_LINES:
        lead += f" {figures.MAX_LINES} of {len(study.students):,} students are drawn."
    figure = figures.parallel_figure(study)
    return pieces.section("All students", lead, pieces.plot(figure, least_width=figures.parallel_width(figure)))


def _bar(share: float) -> str:
    bar = f'<span class="track"><span class="bar" style="width:{86 * share:.0f}px"></span></span>'
    return percent(share) + bar


def progress_section(study: StudyTable) -> str:
    """What the search gained with every trial."""
    if len(study.finished) < 2:
        return ""
    history = hypervolume_history(study)
    last = history["hypervolume"].iloc[-1]
    lead = (
        f"Hypervolume is what the front dominates, in units of the teacher: {last:.3f} now; 1 would be its quality "
        "at no cost. If the line still rises at the right end, more trials would improve the front."
    )
    return pieces.section("Was the search still improving?", lead, pieces.plot(figures.progress_figure(study, history)))


def curves_section(study: StudyTable, members: pd.DataFrame) -> str:
    """Quality by rung where trials were stopped early, and loss by tokens, a panel per method."""
    rungs, curves = figures.rungs_figure(study), figures.learning_curves(study, members)
    body = ""
    if rungs is not None:
        lead = (
            f"Quality at each rung; {plural(len(study.stopped), 'trial')} stopped early (dotted), the front in colour."
        )
        body += f'<p class="lead">{lead}</p>\n{pieces.plot(rungs)}'
    if curves:
        shown, methods = len(curves), study.finished["method"].drop_duplicates().ne(UNTRAINED).sum()
        lead = (
            "Training loss by tokens: the front in colour, a sample of the other trials in grey. Losses of different "
            "methods are on different scales, so each method has its own axis and no trial is ranked by its loss."
        )
        if shown < methods:
            lead += f" The {shown} most tried of {methods} methods are shown."
        panels = "".join(f"<div><h3>{escape(m)}</h3>{pieces.plot(figure)}</div>" for m, figure in curves.items())
        body += f'<p class="lead">{lead}</p>\n<div class="panels">{panels}</div>\n'
    return pieces.section("Learning curves", "", body) if body else ""


def decisions_section(study: StudyTable) -> str:
    """Which trials freeze and thaw trained on, and which it left for later."""
    figure = decisions_figure(study)
    if figure is None:
        return ""
    counts = study.decisions["action"].value_counts()
    ended = set(study.decisions.loc[study.decisions["action"] == "end", "trial"])
    tried, pauses, thaws = (int(counts.get(action, 0)) for action in ("try", "pause", "thaw"))
    waiting = study.decisions["trial"].nunique() - len(ended)
    lead = (
        f"{plural(tried, 'trial')} tried, {plural(pauses, 'pause')}, {plural(thaws, 'thaw')}; {len(ended):,} came to "
        f"their end, {waiting:,} did not. At each rung the one that may add most to the front for what it still costs "
        "is trained next; under the mouse stands what it was compared with."
    )
    return pieces.section("What the search decided", lead, pieces.plot(figure))


def failures_section(study: StudyTable) -> str:
    """Why trials failed or could not be built."""
    table = failures(study)
    if table.empty:
        return ""
    rows = "".join(
        f'<tr><td class="text wrap">{escape(str(r.reason))}</td><td class="text">{escape(r.status)}</td>'
        f"<td>{r.n:,}</td><td>{r.first_trial}</td></tr>\n"
        for r in table.head(MAX_REASONS).itertuples()
    )
    rest = len(table) - MAX_REASONS
    lead = f"{plural(rest, 'rarer reason')} not shown." if rest > 0 else ""
    return pieces.section(
        "Trials that did not finish", lead, pieces.table(["reason", "status", "trials", "first"], [rows], text=2)
    )


def time_section(study: StudyTable) -> str:
    """How long the parts of a study took: teacher and data once, then the phases of every trial that ran."""
    phases = figures.phases(study).fillna(0)
    prepared_s = study.meta.prepare_s or 0.0
    total_s = float(phases.to_numpy().sum())
    if not total_s:
        return ""
    spent = {phase: float(phases[column].sum()) for column, phase in figures.PHASES.items()}
    words = ", ".join(f"{percent(seconds / total_s)} {phase}" for phase, seconds in spent.items())
    lead = f"{_duration(total_s)} of trial time in {plural(len(phases), 'trial')} that ran: {words}."
    if prepared_s:
        lead += f" Before the first trial, {_duration(prepared_s)} went to teacher, data, floor and costs."
    lead += " Means per trial by method:"
    return pieces.section("Time spent", lead, pieces.plot(figures.time_figure(study)))


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"


def environment_section(study: StudyTable) -> str:
    """What it takes to run the study again."""
    meta, latency = study.meta, asdict(study.meta.latency)
    measured = sorted(set(study.finished["hardware"].dropna()) - {"", meta.hardware})
    facts = {
        "seed": meta.seed,
        "schedule": "" if study.decisions.empty else "freeze_thaw",
        "sampler": meta.sampler if study.decisions.empty else "",
        "created": f"{datetime.fromisoformat(meta.created):%Y-%m-%d %H:%M} UTC",
        "space digest": meta.space_digest,
        "hardware": meta.hardware,
        "also measured on": "; ".join(measured),
        "latency": ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in latency.items()),
        "versions": ", ".join(f"{name} {version}" for name, version in meta.versions.items()),
        "to run again": "stillhouse run spec.toml, with the resolved spec below" if study.spec else "",
    }
    listed = "".join(f"<dt>{n}</dt><dd>{escape(str(v))}</dd>" for n, v in facts.items() if v not in (None, ""))
    spec = f"<details><summary>Resolved spec</summary><pre>{escape(study.spec)}</pre></details>\n" if study.spec else ""
    return pieces.section("Environment", "", f'<dl class="facts">{listed}</dl>\n{spec}')
