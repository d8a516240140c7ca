"""What a study says in words: its verdict, and how far its numbers can be trusted. For terminal, page and commands."""

from collections.abc import Sequence

import pandas as pd

from analysis.selection.front import aim, front, front_for, knee
from analysis.statistics.effects import failures
from analysis.study.scoring import layer_text
from analysis.study.table import StudyTable
from analysis.words import (
    WITHOUT_TEACHER,
    decimal,
    in_teacher_units,
    number,
    percent,
    plural,
    share_text,
    student_name,
)
from spaces.records.shares import NORMAL_95, WEAK, weights_text
from spaces.students.transfer import UNTRAINED

HEADLINE_COSTS = 2
"""Told in the verdict where the study has fewer objectives that are costs."""
CONFIRMED, SEEDS = 5, 3
"""Students and seeds of each that `stillhouse confirm` runs unless told."""


def verdict(study: StudyTable, objectives: Sequence[str] | None = None) -> str:
    """What came out, in a few sentences; `objectives` instead of the study's own."""
    return " ".join(filter(None, headline(study, objectives)))


def headline(study: StudyTable, objectives: Sequence[str] | None = None) -> tuple[str, str]:
    """The verdict as its first sentence and the others, if any."""
    trials, finished = study.trials, study.finished
    if trials.empty:
        return f"No trial has ended yet; {plural(study.meta.num_trials, 'trial')} planned.", ""
    if finished.empty:
        reasons = failures(study)
        common = f" Most often: {reasons.iloc[0]['reason']}." if len(reasons) else ""
        return f"None of {plural(len(trials), 'trial')} finished.{common}", ""
    own = aim(study, objectives)
    members, names = front_for(study, own), [each.name for each in own.objectives]
    if members.empty:
        bound = f" within the limits ({own.limits_text})" if own.limits else ""
        return f"{plural(len(finished), 'trial')} finished, none with all of {', '.join(names)} measured{bound}.", ""
    if finished["quality"].max() <= 0:
        least = f"the best of {len(finished):,} has quality {finished['quality'].max():.3f}"
        return (
            f"No student is better than an untrained encoder: {least}.",
            "Train longer, or look at the learning curves and failures.",
        )
    best, students = members.iloc[knee(members, own.objectives)], study.students
    of = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    opening = (
        f"{len(members)} of {plural(len(students), 'finished student')} are beaten by no other in {of}; the knee is"
        if len(members) > 1
        else f"One student beats the other{f' {len(students) - 1:,}' * (len(students) > 2)} in {of}:"
        if len(students) > 1
        else "The only finished student is"
    )
    name, weak = f"{student_name(best)} (trial {best['trial']})", ", ".join(f"{t}{WEAK}" for t in study.meta.weak_tasks)
    doubt = f" Shares of {weak} say little." if weak else ""
    kept = f" {lowered(study)}" if lowered(study) else ""
    return f"{opening} {name}.", f"{beside_teacher(study, best)}{doubt}{_alone(study, best)}{kept}"


def beside_teacher(study: StudyTable, row: pd.Series) -> str:
    """A student beside teacher and floor: the raw score on its worst task first, then the mean share and the costs."""
    teacher = study.meta.teacher.costs
    shown = list(dict.fromkeys([*study.meta.aim.costs, *study.costs]))[: max(HEADLINE_COSTS, len(study.meta.aim.costs))]
    costs = [in_teacher_units(cost, row[cost.column], teacher.get(cost.column), "its") for cost in shown]
    costs = [words for words in costs if words]
    at = f" at {', '.join(costs[:-1])} and {costs[-1]}" if len(costs) > 1 else f" at {costs[0]}" if costs else ""
    share = share_text(row["quality"], row["share_low"], row["share_high"])
    many = len(study.tasks) > 1
    mean = f"the {'weighted ' * bool(weights_text(study.meta.weights))}mean over {len(study.tasks)} tasks"
    gain = f"the teacher's gain over an untrained encoder{f', {mean}' if many else ''}"
    worst = worst_task(study, row)
    if worst is None:
        return f"It recovers {share} of {gain},{at}."
    facts = study.meta.tasks[worst]
    own, reach = row[f"recovered_{worst}"], NORMAL_95 * row[f"error_{worst}"]
    gap = f", {share_text(own, own - reach, own + reach)} of that gap" if many else ""
    how = ", ".join(filter(None, [study.meta.protocol_of(worst), layer_text(study, row, worst)]))
    return (
        f"It scores {decimal(row[f'score_{worst}'])} on {worst}{', its worst task' if many else ''} ({how}), where the "
        f"teacher has {decimal(facts.teacher)} and an untrained encoder {decimal(facts.floor)}{gap}, and recovers "
        f"{share} of {gain},{at}."
    )


def worst_task(study: StudyTable, row: pd.Series) -> str | None:
    """The task of which a student recovers least, among those whose shares say something if there is one."""
    known = [task for task in study.tasks if row[f"recovered_{task}"] == row[f"recovered_{task}"]]
    sound = [task for task in known if task not in study.meta.weak_tasks]
    return min(sound or known, key=lambda task: row[f"recovered_{task}"], default=None)


def _alone(study: StudyTable, row: pd.Series) -> str:
    """The best of that size that trained without the teacher, for scale."""
    baseline = study.without_teacher
    alike = baseline[baseline["parameters"] <= row["parameters"]]["quality"].max()
    if row["method"] in WITHOUT_TEACHER or alike != alike:
        return ""
    return f" The best of that size that trained without the teacher recovers {percent(alike)}."


def lowered(study: StudyTable) -> str:
    """How often a trial kept its start or a rung, in sentences; nothing where no start was scored."""
    both = study.finished[study.finished["trained_quality"].notna()]
    if both.empty:
        return ""
    kept = int((both["kept_tokens"] == 0).sum())
    of_rungs = int(both["kept_tokens"].between(0, both["train_tokens"], inclusive="neither").sum())
    text = f"Training raised quality in each of {plural(len(both), 'trial')}."
    if kept:
        text = f"In {kept} of {plural(len(both), 'trial')} training did not raise quality: the start was kept."
    if of_rungs:
        text += f" In {of_rungs} the student of a rung was better than that of the end, and was kept."
    return text + gone_on(both)


def gone_on(trials: pd.DataFrame) -> str:
    """How many of them went on from the student of an earlier one, in a sentence; nothing where none did."""
    heirs = trials[trials["parent"].notna()]
    if heirs.empty:
        return ""
    longest = number(int((heirs["ancestor_tokens"] + heirs["kept_tokens"]).max()))
    return (
        f" {len(heirs)} of them went on from the student of an earlier trial, the longest line over {longest} tokens."
    )


def noise_text(study: StudyTable) -> str:
    """How far quality can be trusted, in a few sentences."""
    noise, sizes = study.noise, [task.num_dev for task in study.meta.tasks.values() if task.num_dev]
    text, seeds = "", " and the noise between seeds" if noise.known else ""
    if sizes:
        span = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        text = f"Intervals are 95 %, from {span} dev examples a task{seeds}. "
    if not noise.known:
        text += (
            "How much a seed moves quality is unknown, since each configuration ran once: students that lie close may "
            "change places."
        )
        trained = study.students[(study.students["method"] != UNTRAINED) & (study.students["kept_tokens"] != 0)]
        if trained.empty:
            return f"{text} No student here was improved by training, and a start has no seeds to be confirmed by."
        students = min(CONFIRMED, len(trained))
        dof = students * (SEEDS - 1)
        return (
            f"{text} stillhouse confirm measures it: {SEEDS} seeds of {plural(students, 'student')} ({dof} more "
            f"trials) tell it to about {percent((2 * dof) ** -0.5)}."
        )
    text += (
        f"Seeds of one configuration differ by {noise.std:.3f} (standard deviation, from "
        f"{plural(noise.groups, 'configuration')} with several seeds, {plural(noise.dof, 'degree')} of freedom)"
        f"{', which is what tells two students apart, for all are scored on the same examples' if sizes else ''}."
    )
    if rivals := int((front(study)["rivals"] > 0).sum()):
        text += f" {rivals} on the front may be there by chance: a cheaper student is as good, as far as seeds tell."
    return text
