"""The sections of the page about students: the front, test scores, methods, mappings.

Each takes a study and returns escaped HTML, empty when it has nothing to say.
"""

from html import escape
from typing import Any

import pandas as pd

from analysis.figures.front_figure import MAX_DOMINATED, front_figure
from analysis.figures.points import pinnable
from analysis.figures.style import evenly, method_colours
from analysis.page import pieces
from analysis.page.text import noise_text
from analysis.selection.front import aim, knee
from analysis.statistics.effects import compare_mappings, method_by_architecture
from analysis.study.scoring import REMARKABLE, doubts, layer_text, protocols_text
from analysis.study.table import FLOOR_ROW, TEACHER_ROW, StudyTable
from analysis.words import MISSING, config_of, cost_cell, decimal, plural, share_text, student_name, teacher_share
from spaces.records.shares import NORMAL_95, WEAK, Gap, mean_error, mean_share
from spaces.students.architecture import SHAPE_KEYS

MAX_FRONT_ROWS, MAX_ARCHITECTURES = 60, 40


def front_section(study: StudyTable, members: pd.DataFrame) -> str:
    """The front as a figure with pins, and as a table, with teacher and floor."""
    if members.empty:
        return ""
    lead = (
        "Quality is the mean over tasks of the share of the teacher's gain over an untrained encoder: 0 untrained, 1 "
        f"the teacher. {escape(protocols_text(study))} The line joins the best quality at each cost; students off the "
        "front are faded, "
        "the knee is ringed. "
        f"{escape(noise_text(study))} Click a student to compare it with others."
    )
    if aim(study).limits:
        lead += f" Students beyond the study's limits ({escape(aim(study).limits_text)}) are faded too."
    beaten = len(study.students) - len(members)
    if beaten > MAX_DOMINATED:
        lead += f" Of {beaten:,} beaten students, {MAX_DOMINATED:,} are drawn."
    if members["precision"].notna().any():
        lead += " Marks that are joined are one student in several precisions, each as its file is scored and timed."
    elif members["torch_quality"].notna().any():
        lead += " A hollow mark is the same student in float, scored in torch, at the cost of its file in float."
    if len(study.stopped):
        lead += f" {plural(len(study.stopped), 'trial')} stopped early: at the quality of the last rung, faded."
    figure = front_figure(study)
    drawn = dict.fromkeys(int(trial) for trace in figure.data for trial in _trials_of(trace))
    pins = (
        f'<div class="pins" hidden><h3>Pinned</h3>{pieces.scroll("<table></table>")}</div>\n'
        f"{pieces.data(pinnable(study, list(drawn)))}"
    )
    body = f'<div id="front">{pieces.plot(figure)}{pins}</div>\n'
    return pieces.section("The front", lead, body + _front_table(study, members))


def _trials_of(trace: Any) -> list[int]:
    return [] if trace.customdata is None else list(trace.customdata)


def _front_table(study: StudyTable, members: pd.DataFrame) -> str:
    teacher, tasks = study.meta.teacher, study.meta.tasks
    best = members.index[knee(members, aim(study).objectives)]
    shown = evenly(members, MAX_FRONT_ROWS)
    named = {"method", "family", *SHAPE_KEYS}  # said by the student's name
    configs = {
        index: {
            axis: value for axis, value in config_of(member, study.meta.config_columns).items() if axis not in named
        }
        for index, member in shown.iterrows()
    }
    common = dict(set.intersection(*(set(config.items()) for config in configs.values())))
    common = {axis: common[axis] for axis in study.meta.config_columns if axis in common} if len(shown) > 1 else {}
    rows = []
    for index, member in shown.iterrows():
        mark = '<span class="mark">knee</span>' if index == best else ""
        small = _words({axis: value for axis, value in configs[index].items() if axis not in common})
        name = f"{escape(student_name(member))}{mark}"
        scores = [
            pieces.under(decimal(member[f"score_{task}"]), _share_and_layer(study, member, task))
            for task in study.tasks
        ]
        seeds = f", {member['seeds']} seeds" if member["seeds"] > 1 else ""
        noise = f", within noise of {plural(member['rivals'], 'cheaper student')}" if member["rivals"] else ""
        small = f"trial {member['trial']}{seeds}{noise}" + (f'<span class="config">: {small}</span>' if small else "")
        rows.append(pieces.row(pieces.under(name, small), [*scores, *_costs(study, member)]))
    top = {**teacher.costs, "quality": 1.0}
    label = pieces.under(f"teacher {teacher.architecture.name}", "")
    rows.append(pieces.row(label, [*(decimal(tasks[t].teacher) for t in tasks), *_costs(study, top)], "reference rule"))
    floors = [decimal(tasks[task].floor) for task in tasks]
    rows.append(pieces.row("floor (untrained)", [*floors, decimal(0.0), *[MISSING] * len(study.costs)], "reference"))
    weak = {task: f"{WEAK} " if task in study.meta.weak_tasks else "" for task in tasks}
    how = {task: escape(f"{facts.metric_text}, {study.meta.protocol_of(task)}, dev") for task, facts in tasks.items()}
    head = ["student", *(f"{escape(task)}{weak[task]}<small>{how[task]}</small>" for task in tasks)]
    head += ["quality", *(escape(cost.title) for cost in study.costs)]
    note = f" The same in every front member: {_words(common)}." if common else ""
    note += f" {len(shown)} of {len(members)} front members are shown." if len(shown) < len(members) else ""
    caption = (
        '<p class="note">Small figures: share of the gap between floor and teacher recovered on the dev split (95 % by '
        "the number of examples), the 95 % interval of quality, share of the teacher's cost, or speed relative to the "
        f"teacher (median), the layer that a probe read (0: the word embeddings).{note}</p>\n"
    )
    doubted = "".join(f'<p class="note">{escape(line)}</p>\n' for line in doubts(study, shown))
    return pieces.table(head, rows, kind="sticky") + caption + doubted


def _share_and_layer(study: StudyTable, row: Any, task: str) -> str:
    """'86 % (69 to 103 %)' over 'layer 2', marked where the share is beyond what a student can owe to its teacher."""
    words = [_share(row, f"recovered_{task}", f"error_{task}"), layer_text(study, row, task)]
    return ("\u26a0 " if row[f"recovered_{task}"] > REMARKABLE else "") + "<br>".join(filter(None, words))


def _share(row: Any, share: str, error: str) -> str:
    """'86 % (69 to 103 %)' of the columns of a share and its standard error."""
    reach = NORMAL_95 * row[error]
    return share_text(row[share], row[share] - reach, row[share] + reach)


def _words(config: dict[str, str]) -> str:
    return ", ".join(f"{escape(axis.replace('_', ' '))} {escape(value)}" for axis, value in config.items())


def _costs(study: StudyTable, row: Any) -> list[str]:
    """Quality and every cost, with the interval and what each is of the teacher's."""
    known = pd.notna(row.get("share_low"))
    interval = f"{row['share_low']:.2f} to {row['share_high']:.2f}" if known else ""
    if pd.notna(row.get("torch_quality")):
        interval += f"<br>{decimal(row['torch_quality'])} in torch"
    cells, teacher = [pieces.under(decimal(row.get("quality")), interval)], study.meta.teacher.costs
    for cost in study.costs:
        share = teacher_share(cost, row.get(cost.column), teacher.get(cost.column))
        cells.append(pieces.under(cost_cell(cost, row), share))
    return cells


def test_section(study: StudyTable, members: pd.DataFrame) -> str:
    """Scores on the test splits, when there are any."""
    scores = study.test_scores
    if scores.empty:
        return ""
    tasks = list(dict.fromkeys(scores["task"]))
    by_trial = {trial: rows.set_index("task") for trial, rows in scores.groupby("trial")}
    names = {TEACHER_ROW: "teacher", FLOOR_ROW: "floor (untrained)"}
    metrics = dict(zip(scores["task"], scores["metric"], strict=True))
    on_front = set(members["trial"])
    trials = pd.concat([study.trials, study.variants]).set_index("trial", drop=False)

    gaps = {
        task: Gap(str(metrics[task]), study.meta.tasks[task].num_test, *(by_trial[t].loc[task, "score"] for t in names))
        for task in tasks
    }

    def cells(trial: int) -> list[str]:
        rows = by_trial[trial]
        rows = rows[~rows.index.duplicated(keep="last")].reindex(tasks)
        small = ["" for _ in tasks]
        if trial >= 0:
            errors = [gaps[task].share_error(score) for task, score in rows["score"].items()]
            rows = rows.assign(error=errors)
            small = [_share(row, "recovered", "error") for row in rows.to_dict("records")]
        scored = [pieces.under(decimal(score), text) for score, text in zip(rows["score"], small, strict=True)]
        return [*scored, _mean(study, rows) if trial >= 0 else ""]

    def line(trial: int) -> str:
        name = escape(student_name(trials.loc[trial]))
        return pieces.row(pieces.under(name, f"trial {trial}"), cells(trial))

    tested = sorted((t for t in by_trial if t in trials.index), key=lambda t: trials.loc[t, "parameters"])
    lines = [line(trial) for trial in tested if trial in on_front]
    for i, trial in enumerate(t for t in names if t in by_trial):
        lines.append(pieces.row(names[trial], cells(trial), "reference rule" if i == 0 else "reference"))
    weak = {task: f"{WEAK} " if gaps[task].is_weak else "" for task in tasks}
    head = ["student", *(f"{escape(t)}{weak[t]}<small>{escape(str(metrics[t]))}, test</small>" for t in tasks),
            "quality on test"]  # fmt: skip
    protocols = escape(", ".join(sorted(set(scores["protocol"].dropna()))))
    when = "as a part of its trial" if study.meta.comparison else "after the search"
    lead = (
        f"Each student scored once, {when}, by {protocols}. Nothing was selected on these splits. Quality on test is "
        "the same mean over tasks as quality on dev, with 95 % by the number of test examples."
    )
    body = pieces.table(head, lines, kind="sticky")
    if others := [line(trial) for trial in tested if trial not in on_front]:
        summary = f"{plural(len(others), 'more student')}, not on the front"
        body += f"<details><summary>{summary}</summary>{pieces.table(head, others, kind='sticky')}</details>\n"
    return pieces.section("On the test split", lead, body)


def _mean(study: StudyTable, rows: pd.DataFrame) -> str:
    """Quality on the test split from rows by task with `recovered` and `error`."""
    rows, weights = rows[rows["recovered"].notna()], study.meta.weights
    if rows.empty:
        return MISSING
    mean, reach = mean_share(rows["recovered"], weights), NORMAL_95 * mean_error(rows["error"], weights)
    return pieces.under(decimal(mean), f"{mean - reach:.2f} to {mean + reach:.2f}" if reach == reach else "")


def _interval(row: Any) -> str:
    return f"{row.low:.2f} to {row.high:.2f}" if row.low == row.low else ""


def methods_section(study: StudyTable) -> str:
    """Quality by method and architecture."""
    table = method_by_architecture(study)
    if table.empty:
        return ""
    methods = [m for m in method_colours(study) if m in set(table["method"])]
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
            small = f"mean {row.mean:.2f}{interval}<br>{plural(int(row.n), 'student')}"
            line += f'<td class="shade" style="--share:{share:.0f}%">{pieces.under(decimal(row.best), small)}</td>'
        rows.append(f'<tr><th scope="row" class="text">{escape(architecture)}</th>{line}</tr>\n')
    lead = (
        "Best quality of each pair, the mean of its students, and a 95 % bootstrap interval of that mean from three "
        "students on, all as training left them, also where the start was better and was kept. Layers x hidden size, "
        "smallest first. The search spends more trials where it expects more."
    )
    if len(shown) < len(architectures):
        lead += f" The {len(shown)} most tried of {len(architectures)} architectures are shown."
    return pieces.section(
        "Method by architecture", lead, pieces.table(["", *map(escape, methods)], rows, kind="sticky fill")
    )


def mappings_section(study: StudyTable) -> str:
    """Quality by layer mapping, when there is more than one."""
    table = compare_mappings(study)
    if len(table) < 2:
        return ""
    rows = [
        pieces.row(
            escape(str(r.mapping)),
            [decimal(r.best), decimal(r.mean), _interval(r) or MISSING, f"{r.n:,}", f"{r.best_trial}"],
        )
        for r in table.itertuples()
    ]
    head = ["mapping", "best quality", "mean", "95 % interval of the mean", "students", "best trial"]
    return pieces.section("Layer mappings", "Hidden-state transfer only, best mean first.", pieces.table(head, rows))
