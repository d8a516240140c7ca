"""Several studies on one page: their fronts in one figure, what each found, and whether they may be compared at all."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.points import hover
from analysis.figures.style import ABOVE, GREY, buttons, colours_of, cost_axis, count_ticks, style
from analysis.page import pieces
from analysis.page.report import page
from analysis.page.text import verdict
from analysis.page.watch import Watcher
from analysis.selection.front import aim, front, hypervolume_history, knee
from analysis.study.table import StudyTable
from analysis.words import MISSING, cost_text, decimal, number, plural, ratio, student_name, teacher_share
from spaces.errors import SpecError
from spaces.records.costs import COSTS, Cost
from spaces.records.filesystems import folders_in, open_filesystem

KNEE = ("trial", "quality", "low", "high")
OVERVIEW = ("study", "folder", "trials", "students", "on_front", "hypervolume", "best_quality")


def listed(root: str) -> list[dict[str, str]]:
    """The studies in a folder and right below it: folder, where each stands, trials, and its knee, newest last."""
    filesystem, path = open_filesystem(root)
    rows = []
    for folder in (f"{root.rstrip('/')}/{name}".rstrip("/") for name in ("", *folders_in(filesystem, path))):
        watcher = Watcher(folder)
        watcher.look()
        study, state = watcher.study, watcher.state
        if study is None and state is None:
            continue
        phase = "no run known" if state is None else f"{state.phase}, killed" if state.was_killed else state.phase
        row = {"study": folder, "state": phase, "trials": "", "created": "", "knee": ""}
        if study is not None:
            members = front(study)
            of = f"/{study.meta.num_trials}" if study.decisions.empty else ""
            row |= {"trials": f"{len(study.searched)}{of}", "created": study.meta.created[:10]}
            if len(members):
                best = members.iloc[knee(members, aim(study).objectives)]
                row["knee"] = f"{student_name(best)}, quality {decimal(best['quality'])}"
        rows.append(row)
    return sorted(rows, key=lambda row: row["created"] or "~")


def names_of(studies: Sequence[StudyTable]) -> list[str]:
    """A name per study, told apart by the folder where names repeat."""
    names = [study.meta.name for study in studies]
    return [n if names.count(n) == 1 else f"{n} ({s.folder})" for n, s in zip(names, studies, strict=True)]


def differences(studies: Sequence[StudyTable]) -> list[str]:
    """Why qualities or costs of these studies do not compare, in sentences; empty when they do."""
    first, found = studies[0], []
    for name, study in zip(names_of(studies)[1:], studies[1:], strict=True):
        start = f"{name} and {names_of(studies)[0]} differ in"
        if study.meta.teacher.digest != first.meta.teacher.digest:
            found.append(f"{start} their teachers: quality 1 is not the same model.")
        if set(study.tasks) != set(first.tasks):
            found.append(f"{start} their tasks: quality is a mean over other tasks.")
        if study.meta.protocol != first.meta.protocol:
            found.append(f"{start} how students are scored ({study.meta.protocol} and {first.meta.protocol}).")
        if study.meta.train_tokens != first.meta.train_tokens:
            tokens = f"{number(study.meta.train_tokens)} and {number(first.meta.train_tokens)}"
            found.append(f"{start} the tokens per trial ({tokens}).")
        if (study.meta.hardware, study.meta.latency) != (
            first.meta.hardware,
            first.meta.latency,
        ):
            found.append(f"{start} the machine or setting of the latency.")
    return found


def several_page(studies: Sequence[StudyTable]) -> str:
    """The page of `stillhouse compare`."""
    if len(studies) < 2:
        raise SpecError(["compare needs two studies or more"])
    names = names_of(studies)
    notes = "".join(f'<p class="warn">{escape(note)}</p>' for note in differences(studies))
    verdicts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(verdict(study))}</dd>" for name, study in zip(names, studies, strict=True)
    )
    body = (
        f'<header>\n<p class="eyebrow"><b>stillhouse</b> &nbsp; {len(studies)} studies</p>\n'
        f"<h1>{escape(summary(studies))}</h1>\n{notes}</header>\n"
        f'<section><dl class="facts">{verdicts}</dl></section>\n'
    )
    lead = "The front of each study on its own, in one figure. Quality 1 is each study's teacher."
    body += pieces.section("The fronts", lead, pieces.plot(fronts_figure(studies)) + _fronts_table(studies))
    lead = "Best quality of any student of the method, and trials that finished."
    body += pieces.section("Methods", lead, _methods_table(studies))
    if any(len(study.finished) > 1 for study in studies):
        lead = "Hypervolume of each study's front so far, in units of its teacher."
        body += pieces.section("Was each search still improving?", lead, pieces.plot(volumes_figure(studies)))
    return page(", ".join(names), body)


def overview(studies: Sequence[StudyTable]) -> pd.DataFrame:
    """One row per study: what it tried, the volume of its front, and the knee as `knee_...` (None without a front)."""
    rows = []
    for name, study in zip(names_of(studies), studies, strict=True):
        members = front(study)
        volume = hypervolume_history(study)["hypervolume"].max() if len(study.finished) else 0.0
        found = (name, study.folder, len(study.trials), len(study.students), len(members), float(volume))
        row = dict(zip(OVERVIEW, (*found, members["quality"].max()), strict=True))
        if len(members):
            best = members.iloc[knee(members, aim(study).objectives)]
            row |= {"knee": student_name(best), **{f"knee_{name}": best[name] for name in KNEE}}
            for cost in COSTS.values():
                teacher = study.meta.teacher.costs.get(cost.column)
                row[f"knee_{cost.name}"] = best[cost.column]
                row[f"knee_{cost.name}_share"] = ratio(best[cost.column], teacher)
        rows.append(row)
    costs = [name for cost in COSTS for name in (f"knee_{cost}", f"knee_{cost}_share")]
    return pd.DataFrame(rows, columns=[*OVERVIEW, "knee", *(f"knee_{name}" for name in KNEE), *costs])


def summary(studies: Sequence[StudyTable]) -> str:
    """Which study's front dominates most, in a sentence; of studies whose volumes do not compare, why they do not."""
    measured: dict[str, set[Any]] = {
        "objectives": {tuple(study.meta.objectives) for study in studies},
        "teachers": {study.meta.teacher.digest for study in studies},
        "tasks": {frozenset(study.tasks) for study in studies},
    }
    if different := [what for what, found in measured.items() if len(found) > 1]:
        return f"{len(studies)} studies with different {' and '.join(different)}, side by side."
    table = overview(studies)
    listed = ", ".join(f"{row.study} {row.hypervolume:.3f}" for row in table.itertuples())
    return f"The front of {table.loc[table['hypervolume'].idxmax(), 'study']} dominates most: hypervolume {listed}."


def fronts_figure(studies: Sequence[StudyTable]) -> go.Figure:
    """The front of each study, quality against a cost, by switch."""
    names = names_of(studies)
    colours, figure, views = colours_of(names), go.Figure(), []
    for cost in COSTS.values():
        column, start, costs_N = cost.column, len(figure.data), []
        for name, study in zip(names, studies, strict=True):
            members = front(study, ["quality", cost.name])
            costs_N += members[column].tolist()
            figure.add_scatter(
                x=members[column], y=members["quality"], mode="lines+markers", name=escape(name[:60]),
                line={"shape": "hv", "color": colours[name], "width": 1.5}, marker={"size": 10},
                hovertext=[
                    f"{escape(name[:60])}<br>{hover(row, study.meta.config_columns)}"
                    for row in members.to_dict("records")
                ],
                hovertemplate="%{hovertext}<extra></extra>",
            )  # fmt: skip
        if costs_N:
            views.append((cost.label, start, len(figure.data), cost_axis(np.array(costs_N), cost.title)))
    style(figure, 480, "quality: share of the teacher's gain recovered")
    choices: list[dict[str, Any]] = []
    for label, start, stop, axis in views:
        visible = [start <= i < stop for i in range(len(figure.data))]
        relayout = {f"xaxis.{key}": value for key, value in axis.items()}
        choices.append({"label": label, "method": "update", "args": [{"visible": visible}, relayout]})
    if choices:
        for trace, visible in zip(figure.data, choices[0]["args"][0]["visible"], strict=True):
            trace.visible = visible
        figure.update_layout(**{key.replace(".", "_"): value for key, value in choices[0]["args"][1].items()})
        buttons(figure, choices)
    for level in (0, 1):
        figure.add_hline(y=level, line={"dash": "dot", "width": 1, "color": GREY})
    legend = {"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0}
    figure.update_layout(margin={"t": 52}, legend=legend, showlegend=True)
    return figure


def volumes_figure(studies: Sequence[StudyTable]) -> go.Figure:
    """Hypervolume over finished trials, a line per study."""
    names, figure = names_of(studies), go.Figure()
    for name, study in zip(names, studies, strict=True):
        if len(study.finished):
            history = hypervolume_history(study)
            line = {"color": colours_of(names)[name], "width": 2, "shape": "hv"}
            figure.add_scatter(
                x=history["finished"], y=history["hypervolume"], mode="lines", name=escape(name[:60]), line=line
            )
    style(figure, 320, "hypervolume")
    figure.update_layout(legend=ABOVE, showlegend=True)
    figure.update_xaxes(title_text="finished trials", **count_ticks(max(len(study.finished) for study in studies)))
    return figure


def _fronts_table(studies: Sequence[StudyTable]) -> str:
    rows, costs = [], list(dict.fromkeys(cost for study in studies for cost in study.costs))
    for row in overview(studies).itertuples():
        name = pieces.under(escape(row.study), f"{row.on_front} of {plural(row.students, 'student')} on the front")
        if not row.on_front:
            rows.append(pieces.row(name, [MISSING] * (3 + len(costs))))
            continue
        interval = f"{row.knee_low:.2f} to {row.knee_high:.2f}" if row.knee_low == row.knee_low else ""
        cells = [
            pieces.under(escape(row.knee), f"trial {row.knee_trial:.0f}"),
            pieces.under(decimal(row.knee_quality), interval),
            *(_knee_cost(row, cost) for cost in costs),
            decimal(row.best_quality),
        ]
        rows.append(pieces.row(name, cells))
    head = ["study", "knee", "quality", *(escape(cost.title) for cost in costs), "best quality on the front"]
    return pieces.table(head, rows, kind="sticky")


def _knee_cost(row: Any, cost: Cost) -> str:
    value, share = getattr(row, f"knee_{cost.name}"), getattr(row, f"knee_{cost.name}_share")
    return pieces.under(cost_text(cost, value), teacher_share(cost, share, 1.0))


def _methods_table(studies: Sequence[StudyTable]) -> str:
    methods = list(dict.fromkeys(m for study in studies for m in study.finished["method"].value_counts().index))
    rows = []
    for method in methods:
        cells = []
        for study in studies:
            own = study.students[study.students["method"] == method]
            cells.append(pieces.under(decimal(own["quality"].max()), plural(len(own), "student")) if len(own) else "")
        rows.append(pieces.row(escape(str(method)), cells))
    return pieces.table(["method", *map(escape, names_of(studies))], rows, kind="sticky fill")
