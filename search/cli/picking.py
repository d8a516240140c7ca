"""A study and a pick from it, by the arguments of the command line, and both in words."""

import argparse
import json
from typing import Any

import pandas as pd

from analysis import Study, load
from analysis.page.text import noise_text
from analysis.selection.picking import Pick
from analysis.study.scoring import doubts, layer_text
from analysis.words import config_of, cost_cell, decimal, in_teacher_units, share_text, student_name
from spaces.errors import SpecError
from spaces.records.costs import COSTS
from spaces.records.objectives import all_objectives
from spaces.records.shares import NORMAL_95, WEAK


def load_study(args: argparse.Namespace) -> Study:
    """The study, with the costs of a profile when one is named."""
    study = load(args.folder)
    return study if args.profile is None else study.with_profile(args.profile)


def plain_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them; what is not known is left out."""
    records = json.loads(rows.to_json(orient="records", date_format="iso"))
    return [{key: value for key, value in record.items() if value is not None} for record in records]


def pick_by(args: argparse.Namespace) -> tuple[Study, Pick]:
    """The study and the pick under the limits of the command line; shares are of the teacher's cost."""
    study, limits = load_study(args), {}
    for cost in COSTS.values():
        if (limit := getattr(args, cost.limit)) is None:
            continue
        value, is_share = limit
        teacher = study.meta.teacher.costs.get(cost.column) if is_share else 1.0
        if not teacher:
            raise SpecError(
                [f"the teacher's {cost.column} is not recorded in {args.folder}: give a number instead of a share"]
            )
        limits[cost.limit] = value * teacher
    return study, study.pick(**limits, min_quality=args.min_quality, knee_of_front=args.knee)


def pick_json(chosen: Pick) -> str:
    """The whole row, the reason, and the runner-up."""
    rows = [chosen.trial] if chosen.runner_up is None else [chosen.trial, chosen.runner_up]
    first, *rest = (plain_rows(row.to_frame().T)[0] for row in rows)
    extra = {"runner_up": rest[0], "runner_up_minus_pick": chosen.trade} if rest else {}
    return json.dumps({"why": chosen.reason, **first, **extra}, indent=2)


def pick_text(study: Study, chosen: Pick) -> str:
    """The pick in lines: quality, every cost, configuration, runner-up, and how far to trust it."""
    row, other, teacher = chosen.trial, chosen.runner_up, study.meta.teacher.costs
    lines = [f"trial {row['trial']}: {student_name(row)}, {chosen.reason}", *scores_text(study, row)]
    for cost in study.costs:
        value = row[cost.column]
        if value == value:
            share = in_teacher_units(cost, value, teacher.get(cost.column), "the teacher's")
            lines.append(f"{cost_cell(cost, row)} {cost.amount}{f', {share}' if share else ''}")
    lines.append(", ".join(f"{axis} {value}" for axis, value in config_of(row, study.meta.config_columns).items()))
    if other is not None:
        lines.append(f"runner-up: trial {other['trial']}, {student_name(other)}: {trade_text(chosen)}")
    lines += [*(f"{WEAK} {line}" for line in study.warnings), *doubts(study, pd.DataFrame([row]))]
    return "\n".join([*lines, noise_text(study)])


def scores_text(study: Study, row: pd.Series) -> list[str]:
    """A line for each task, the raw score first; then quality, and how far it is known."""
    lines = []
    for task, facts in study.meta.tasks.items():
        reach = NORMAL_95 * row[f"error_{task}"]
        share = share_text(row[f"recovered_{task}"], row[f"recovered_{task}"] - reach, row[f"recovered_{task}"] + reach)
        how = ", ".join(filter(None, [study.meta.protocol_of(task), layer_text(study, row, task)]))
        mark = WEAK if task in study.meta.weak_tasks else ""
        lines.append(
            f"{task}{mark}: {decimal(row[f'score_{task}'])} {facts.metric_text} ({how}), "
            f"teacher {decimal(facts.teacher)}, untrained {decimal(facts.floor)}: {share} of the gap"
        )
    interval = (
        f" (95 % interval {row['share_low']:.3f} to {row['share_high']:.3f})" if pd.notna(row["share_low"]) else ""
    )
    seeds = f", mean of {row['seeds']} seeds" if row["seeds"] > 1 else ""
    return [*lines, f"quality {row['quality']:.3f}{interval}{seeds}"]


def trade_text(chosen: Pick) -> str:
    """'0.012 less quality, 1,200,000 fewer parameters': the runner-up beside the pick."""
    objectives, words = all_objectives(), []
    for name, difference in chosen.trade.items():
        amount, places = objectives[name].amount, objectives[name].decimals
        if abs(difference) >= 0.5 * 10**-places:
            less = "less" if places else "fewer"
            words.append(f"{abs(difference):,.{places}f} {'more' if difference > 0 else less} {amount}")
    return ", ".join(words) or "the same in quality and all costs"
