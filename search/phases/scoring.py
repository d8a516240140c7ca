"""What teacher and floor score on the tasks of a study; what is known is not measured again.

The floor is the mean score of untrained encoders of the teacher's shape.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.phases.encoders import reference_encoder, score_reference, score_reference_there
from search.phases.spreading import spread
from search.spec.sections import StudySpec
from spaces.records.shares import Gap
from spaces.telling import Say, announced
from trainables.cache import cache_folder, digest
from trainables.copies import cached_value, shared
from trainables.machine import pinned_threads
from trainables.models.embedding import embedder_of
from trainables.models.teacher import Teacher
from trainables.tasks.kind import Terms
from trainables.tasks.protocols.cosine import score_of_cosine
from trainables.tasks.scores import EncoderScore, MeasuredReference, Reference
from trainables.tasks.scoring import TaskData, load_task, metric_of


def score_all(
    spec: StudySpec,
    teacher: Teacher,
    tasks: Mapping[str, Path],
    splits: Sequence[str],
    say: Say,
    *,
    expected_s: float = 0.0,
    later_s: float = 0.0,
) -> dict[str, dict[str, MeasuredReference]]:
    """What teacher and untrained encoders score, by split and task.

    expected_s: what this takes alone if nothing is in the cache; later_s: what the preparation after this takes.
    """
    found: dict[str, dict[str, MeasuredReference]] = {split: {} for split in splits}
    loaded = {name: load_task(folder) for name, folder in tasks.items()}
    sizes = {name: float(tokens_of(task)) for name, task in loaded.items()}
    known = {name: [split for split in splits if split in task.splits] for name, task in loaded.items()}
    itself = reference_encoder(teacher, spec, None)
    folders = {name: itself.folders(folder, known[name]) for name, folder in tasks.items()}
    new = sum(size for name, size in sizes.items() if not all(each.is_dir() for each in folders[name].values()))
    expected_s *= new / max(1.0, sum(sizes.values()))
    seeds = range(spec.evaluation.floor_seeds)
    todo = [(name, seed) for name in tasks for seed in (None, *seeds)]
    calls = [(shared(tasks[name]), known[name], seed) for name, seed in todo]
    here = functools.partial(score_reference, teacher, spec)
    if new:
        failure = "teacher and floor could not be scored"
        done = spread(spec, here, score_reference_there, calls, expected_s, failure)
    else:  # nothing waits for a worker, or for a GPU that only workers have
        done = (here(*call) for call in calls)
    what = "scores: {} of teacher and untrained encoders"
    own: dict[str, EncoderScore] = {}
    lowest: list[dict[str, EncoderScore]] = []
    each_size = [sizes[name] for name, _ in todo]
    for name, seed in announced(todo, what, say, sizes=each_size, expected_s=expected_s, later_s=later_s):
        if seed is None:
            own, lowest = next(done), []
            continue
        lowest.append(next(done))
        if len(lowest) < len(seeds):
            continue
        for split in known[name]:
            each = found[split][name] = MeasuredReference(own[split], tuple(low[split].score for low in lowest))
            say(
                f"task {name} ({split}): teacher {each.teacher.score:.3f}, untrained {each.floor:.3f} "
                f"({each.teacher.metric})"
            )
    return found


def tokens_of(task: TaskData) -> int:
    """Of all texts but those for tests: about what scoring it reads."""
    return sum(split.num_tokens for name, split in task.splits.items() if name != "test")


def better_by_cosine(
    spec: StudySpec, teacher: Teacher, tasks: Mapping[str, Path], scored: Mapping[str, MeasuredReference], say: Say
) -> list[str]:
    """What is wrong with probed tasks on pairs that the teacher solves better by the cosine of its embeddings.

    A student may then score above the teacher though it is worse where it is used. Within noise, and in a comparison,
    whose tasks are given, that is only said.
    """
    problems: list[str] = []
    if teacher.facts.scores_pairs:
        return problems
    for name, folder in tasks.items():
        own = scored[name].teacher
        if own.protocol != "probe":
            continue
        task, probe = load_task(folder), own.score
        metric = metric_of(task, own.metric)
        how = (
            "cosine",
            2,
            *embedder_of(teacher.model).identity(),
            teacher.facts.digest,
            folder.name,
            metric.name,
            spec.seed,
        )

        def compute(task: TaskData = task, terms: Terms = Terms(metric, spec.seed)) -> dict[str, Any]:  # noqa: B008
            return {"score": score_of_cosine(teacher.model, task, terms)}

        with pinned_threads(max(1, spec.cluster.cpus_per_worker)):
            found = cached_value(cache_folder() / "scores" / digest(*how), compute)["score"]
        if found is None or metric.sign * (found - probe) <= 0:
            continue
        rule = (
            f"task {name!r}: the teacher scores {probe:.3f} by the probe and {found:.3f} by the cosine of its "
            "embeddings alone, so that a student may pass the teacher by the probe and be worse in use"
        )
        way = 'kind = "sts"' if not task.label_names else '[evaluation] protocol = "zero_shot"'
        advice = f"{way} scores the cosine"
        gap = Gap(metric.name, len(task.splits["dev"]), found, probe)
        if gap.is_weak or spec.comparison.seeds is not None:
            say(f"warning: {rule}; {advice}")
        else:
            problems.append(f"{rule}. {advice}; or leave the task out")
    return problems


def score_rungs(
    spec: StudySpec, teacher: Teacher, tasks: Mapping[str, Path], scored: dict[str, MeasuredReference], say: Say
) -> dict[str, MeasuredReference]:
    """`score_all` on dev as students are scored at rungs, where that is not what `scored` holds already."""
    evaluation = spec.evaluation.at_rungs()
    if evaluation == spec.evaluation or spec.rungs.first_tokens is None:
        return scored
    return score_all(
        dataclasses.replace(spec, evaluation=evaluation),
        teacher, tasks, ["dev"], lambda line: say(f"{line} at rungs"),
    )["dev"]  # fmt: skip


def references(scored: Mapping[str, MeasuredReference]) -> dict[str, Reference]:
    """What a score is measured against, by task."""
    return {name: each.reference for name, each in scored.items()}
