"""The sections of the report: each takes a study and returns escaped HTML, empty when it has nothing to say."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis import figures
from analysis.compare import AXES, LEAST_TRIALS, axis_importance, compare_mappings, failures, method_by_architecture
from analysis.pareto import hypervolume_history, knee, limits_of, limits_text, objectives_of
from analysis.table import FLOOR_ROW, SHAPE_AXES, TEACHER_ROW, Study
from analysis.text import MISSING, config_of, decimal, number, percent, plural, ratio, student_name

MAX_FRONT_ROWS, MAX_ARCHITECTURES, MAX_REASONS = 60, 40, 20


def _figure(figure: go.Figure) -> str:
    # In a script element only "</" and "<!" are special; both start with "<".
    data = figure.to_json().replace("<", "\\u003c")
    height = figure.layout.height
    return f'<div class="plot" style="min-height:{height}px"></div><script type="application/json">{data}</script>\n'


def _section(title: str, lead: str, body: str) -> str:
    lead = f'<p class="lead">{lead}</p>\n' if lead else ""
    return f"<section>\n<h2>{title}</h2>\n{lead}{body}</section>\n"


def _table(head: Sequence[str], rows: Iterable[str], *, text: int = 1, kind: str = "") -> str:
    """A table from escaped heads and ready rows; the first `text` columns are left-aligned."""
    cells = "".join(f'<th scope="col"{" class=text" if i < text else ""}>{name}</th>' for i, name in enumerate(head))
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def _row(first: str, cells: Iterable[str], kind: str = "") -> str:
    values = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="{kind}"><th scope="row" class="text">{first}</th>{values}</tr>\n'


def under(value: str, small: str) -> str:
    """A value with a small line below."""
    return f"{value}<small>{small}</small>"


def front_section(study: Study, members: pd.DataFrame) -> str:
    """The front as a figure and as a table, with teacher and floor."""
    if members.empty:
        return ""
    lead = (
        "Quality is the mean over tasks of the share of the teacher's gain over an untrained encoder: 0 untrained, 1 "
        "the teacher. The line joins the best quality that each cost buys; faded students are beaten in the shown view."
    )
    if limits_of(study):
        lead += f" Students beyond the study's limits ({escape(limits_text(study))}) are faded too."
    beaten = len(study.finished) - len(members)
    if beaten > figures.MAX_DOMINATED:
        lead += f" Of {beaten:,} beaten students, {figures.MAX_DOMINATED:,} are drawn."
    return _section("The front", lead, _figure(figures.front_figure(study)) + _front_table(study, members))


def _front_table(study: Study, members: pd.DataFrame) -> str:
    teacher, tasks = study.meta["teacher"], study.meta["tasks"]
    best = members.index[knee(members, objectives_of(study))]
    shown = figures.evenly(members, MAX_FRONT_ROWS)
    named = {"method", *SHAPE_AXES}  # said by the student's name
    configs = {
        index: {axis: value for axis, value in config_of(member).items() if axis not in named}
        for index, member in shown.iterrows()
    }
    common = dict(set.intersection(*(set(config.items()) for config in configs.values())))
    common = {axis: common[axis] for axis in AXES if axis in common} if len(shown) > 1 else {}
    rows = []
    for index, member in shown.iterrows():
        mark = '<span class="mark">knee</span>' if index == best else ""
        small = _words({axis: value for axis, value in configs[index].items() if axis not in common})
        name = f"{escape(student_name(member))}{mark}"
        scores = [under(decimal(member[f"score_{task}"]), percent(member[f"recovered_{task}"])) for task in study.tasks]
        small = f"trial {member['trial']}" + (f'<span class="config">: {small}</span>' if small else "")
        rows.append(_row(under(name, small), [*_costs(member, teacher), *scores]))
    top = {**teacher, "quality": 1.0}
    label = under(f"teacher {teacher.get('num_layers', '?')}x{teacher.get('hidden_size', '?')}", "")
    rows.append(
        _row(label, [*_costs(top, teacher), *(decimal(tasks[t].get("teacher")) for t in tasks)], "reference rule")
    )
    floors = [decimal(tasks[task].get("floor")) for task in tasks]
    rows.append(_row("floor (untrained)", [decimal(0.0), MISSING, MISSING, MISSING, *floors], "reference"))
    head = ["student", "quality", "parameters", "latency, ms", "FLOPs/token"]
    head += [f"{escape(task)}<small>{escape(str(tasks[task].get('metric', '')))}, dev</small>" for task in tasks]
    note = f" The same in every front member: {_words(common)}." if common else ""
    note += f" {len(shown)} of {len(members)} front members are shown." if len(shown) < len(members) else ""
    caption = (
        '<p class="note">Small figures: share of the teacher\'s parameters and FLOPs, speed relative '
        f"to the teacher (median), share of the gap recovered on the task's dev split.{note}</p>\n"
    )
    return _table(head, rows, kind="sticky") + caption


def _words(config: dict[str, str]) -> str:
    return ", ".join(f"{escape(axis.replace('_', ' '))} {escape(value)}" for axis, value in config.items())


def _costs(row: Any, teacher: dict[str, Any]) -> list[str]:
    parameters, flops, latency = (row.get(name) for name in ("parameters", "flops_per_token", "latency_p50_ms"))
    speed = ratio(teacher.get("latency_p50_ms"), latency)
    return [
        decimal(row.get("quality")),
        under(number(parameters), percent(ratio(parameters, teacher.get("parameters")), "")),
        under(decimal(latency, 1), f"{speed:.1f}x" if speed == speed else ""),
        under(number(flops), percent(ratio(flops, teacher.get("flops_per_token")), "")),
    ]


def test_section(study: Study, members: pd.DataFrame) -> str:
    """Scores on the test splits, when there are any."""
    scores = study.test_scores
    if scores.empty:
        return ""
    tasks = list(dict.fromkeys(scores["task"]))
    by_trial = {trial: rows.set_index("task") for trial, rows in scores.groupby("trial")}
    names = {TEACHER_ROW: "teacher", FLOOR_ROW: "floor (untrained)"}
    on_front, trials = set(members["trial"]), study.trials.set_index("trial", drop=False)

    def cells(trial: int) -> list[str]:
        rows = by_trial[trial]
        rows = rows[~rows.index.duplicated(keep="last")].reindex(tasks)
        small = [percent(share, "") if trial >= 0 else "" for share in rows["recovered"]]
        scored = [under(decimal(score), text) for score, text in zip(rows["score"], small, strict=True)]
        return [*scored, percent(rows["recovered"].mean()) if trial >= 0 else ""]

    lines = []
    for trial in sorted((t for t in by_trial if t in trials.index), key=lambda t: trials.loc[t, "parameters"]):
        mark = "" if trial in on_front else ", no longer on the front"
        lines.append(_row(under(escape(student_name(trials.loc[trial])), f"trial {trial}{mark}"), cells(trial)))
    for i, trial in enumerate(t for t in names if t in by_trial):
        lines.append(_row(names[trial], cells(trial), "reference rule" if i == 0 else "reference"))
    metrics = dict(zip(scores["task"], scores["metric"], strict=True))
    head = ["student", *(f"{escape(t)}<small>{escape(str(metrics[t]))}, test</small>" for t in tasks), "mean recovered"]
    protocols = escape(", ".join(sorted(set(scores["protocol"].dropna()))))
    lead = f"Scored once, after the search, by {protocols}. Nothing was selected on these splits."
    return _section("On the test split", lead, _table(head, lines, kind="sticky"))


def _interval(row: Any) -> str:
    return f"{row.low:.2f} to {row.high:.2f}" if row.low == row.low else ""


def methods_section(study: Study) -> str:
    """Quality by method and architecture."""
    table = method_by_architecture(study)
    if table.empty:
        return ""
    methods = [m for m in figures.method_colours(study) if m in set(table["method"])]
    architectures = list(dict.fromkeys(table["architecture"]))
    shown = architectures
    if len(architectures) > MAX_ARCHITECTURES:
        frequent = table.groupby("architecture")["n"].sum().nlargest(MAX_ARCHITECTURES).index
        shown = [name for name in architectures if name in set(frequent)]
    low, high = table["best"].min(), table["best"].max()
    cells = {(row.architecture, row.method): row for row in table.itertuples()}
    rows = []
    for architecture in shown:
        line = ""
        for method in methods:
            row = cells.get((architecture, method))
            if row is None:
                line += "<td></td>"
                continue
            share = 4 + 30 * (row.best - low) / (high - low) if high > low else 12
            interval = f" ({_interval(row)})" if _interval(row) else ""
            small = f"mean {row.mean:.2f}{interval}<br>{plural(int(row.n), 'trial')}"
            line += f'<td class="shade" style="--share:{share:.0f}%">{under(decimal(row.best), small)}</td>'
        rows.append(f'<tr><th scope="row" class="text">{escape(architecture)}</th>{line}</tr>\n')
    lead = (
        "Best quality of each pair, the mean of its trials, and a 95 % bootstrap interval of that mean from three "
        "trials on. Layers x hidden size, smallest first. The search spends more trials where it expects more."
    )
    if len(shown) < len(architectures):
        lead += f" The {len(shown)} most tried of {len(architectures)} architectures are shown."
    return _section("Method by architecture", lead, _table(["", *map(escape, methods)], rows, kind="sticky fill"))


def mappings_section(study: Study) -> str:
    """Quality by layer mapping, when there is more than one."""
    table = compare_mappings(study)
    if len(table) < 2:
        return ""
    rows = [
        _row(
            escape(str(r.mapping)),
            [decimal(r.best), decimal(r.mean), _interval(r) or MISSING, f"{r.n:,}", f"{r.best_trial}"],
        )
        for r in table.itertuples()
    ]
    head = ["mapping", "best quality", "mean", "95 % interval of the mean", "trials", "best trial"]
    return _section("Layer mappings", "Hidden-state transfer only, best mean first.", _table(head, rows))


def importance_section(study: Study) -> str:
    """Importance of the axes, from enough trials on."""
    table = axis_importance(study)
    if table is None:
        return ""
    rows = []
    for axis, shares in table.iterrows():
        rows.append(_row(escape(str(axis).replace("_", " ")), [_bar(share) for share in shares]))
    lead = (
        "How far each axis decides whether a trial is among the best tenth (PED-ANOVA, shares of 100 % per objective; "
        f"from {LEAST_TRIALS} finished trials on). A guide to what to search next, not a test."
    )
    return _section("What mattered", lead, _table(["axis", *map(escape, table.columns)], rows))


def _bar(share: float) -> str:
    bar = f'<span class="track"><span class="bar" style="width:{86 * share:.0f}px"></span></span>'
    return percent(share) + bar


def progress_section(study: Study) -> str:
    """What the search gained with every trial."""
    if len(study.finished) < 2:
        return ""
    history = hypervolume_history(study)
    last = history["hypervolume"].iloc[-1]
    lead = (
        f"Hypervolume is what the front dominates, in units of the teacher: {last:.3f} now; 1 would be its quality "
        "at no cost. A line still rising at the right end says that more trials would pay."
    )
    return _section("Was the search still improving?", lead, _figure(figures.progress_figure(study, history)))


def curves_section(study: Study, members: pd.DataFrame) -> str:
    """Loss by tokens, a panel per method."""
    curves = figures.learning_curves(study, members)
    if not curves:
        return ""
    panels = "".join(f"<div><h3>{escape(method)}</h3>{_figure(figure)}</div>" for method, figure in curves.items())
    methods = study.finished["method"].nunique()
    lead = (
        "Training loss by tokens: the front in colour, a sample of the other trials in grey. Losses of different "
        "methods are on different scales, so each method has its own axis and no trial is ranked by its loss."
    )
    if len(curves) < methods:
        lead += f" The {len(curves)} most tried of {methods} methods are shown."
    return _section("Learning curves", lead, f'<div class="panels">{panels}</div>\n')


def failures_section(study: Study) -> str:
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
    return _section("What did not work", lead, _table(["reason", "status", "trials", "first"], [rows], text=2))


def time_section(study: Study) -> str:
    """What the trials' time went to."""
    phases = study.finished[list(figures.PHASES)].fillna(0)
    total_s = float(phases.to_numpy().sum())
    if not total_s:
        return ""
    words = ", ".join(f"{percent(phases[column].sum() / total_s)} {phase}" for column, phase in figures.PHASES.items())
    spent = f"{total_s / 3600:.1f} h" if total_s >= 5400 else f"{total_s / 60:.1f} min"
    lead = f"{spent} of trial time in {plural(len(phases), 'finished trial')}: {words}. Means per trial by method:"
    return _section("Where the time went", lead, _figure(figures.time_figure(study)))


def environment_section(study: Study) -> str:
    """What it takes to run the study again."""
    meta, latency = study.meta, study.meta.get("latency") or {}
    measured = sorted(set(study.finished["hardware"].dropna()) - {"", meta.get("hardware")})
    facts = {
        "seed": meta.get("seed"),
        "sampler": meta.get("sampler"),
        "created": meta.get("created"),
        "space digest": meta.get("space_digest"),
        "hardware": meta.get("hardware"),
        "also measured on": "; ".join(measured),
        "latency": ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in latency.items()),
        "versions": ", ".join(f"{name} {version}" for name, version in (meta.get("versions") or {}).items()),
        "to run again": "stillhouse run spec.toml, with the resolved spec below" if study.spec else "",
    }
    listed = "".join(f"<dt>{n}</dt><dd>{escape(str(v))}</dd>" for n, v in facts.items() if v not in (None, ""))
    spec = f"<details><summary>Resolved spec</summary><pre>{escape(study.spec)}</pre></details>\n" if study.spec else ""
    return _section("Environment", "", f'<dl class="facts">{listed}</dl>\n{spec}')
