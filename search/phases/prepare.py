"""Everything a study needs before its first trial: data cut, teacher and floor scored, costs measured.

Each piece is cached by its content, so the second study on the same teacher and tasks starts at once. A task on which
the teacher is hardly above the floor is refused before anything is spent. Costs are measured here, while no trial
competes for the cores.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.phases.encoders import put_on_device
from search.phases.forecast import family_lines, few_steps, flops_per_s, hours
from search.phases.inputs import Inputs
from search.phases.scoring import better_by_cosine, references, score_all, score_rungs
from search.phases.shapes import SHAPE_S, measure_shapes, shape_key, shapes_to_measure, timed_lengths
from search.phases.teacher_doors import head_lines, removal_lines
from search.phases.teacher_targets import prepare_targets
from search.proposals.comparison import all_seeds, comparison_meta
from search.spec.checks import Study
from search.spec.languages import languages_of
from search.store.contents import digests_of
from search.store.parts import now
from spaces.errors import SpecError
from spaces.records.columns import axis_columns
from spaces.records.costs import COSTS, chosen_costs, columns_of_costs, known_costs
from spaces.records.data import DataFacts, no_better_line
from spaces.records.meta import StudyMeta, TaskMeta, TeacherMeta
from spaces.records.shares import Gap
from spaces.students.architecture import (
    SHAPES,
    architecture_of,
)
from spaces.telling import Say
from trainables.copies import shared
from trainables.export.artefact import need_calibration
from trainables.machine import hardware, versions
from trainables.models.published import published
from trainables.models.teacher import told_name
from trainables.tasks.prepare import as_teacher_reads
from trainables.tasks.scores import MeasuredReference, Reference
from trainables.tasks.scoring import check_gap, load_task, metric_of
from trainables.tasks.spec import protocol_for
from trainables.text.corpus import open_corpus


@dataclass(frozen=True)
class Prepared:
    """What the trials and the results need to know; all of it plain values."""

    corpus: str
    targets: str
    """The target cache; empty when the teacher runs live."""
    tasks: dict[str, str]
    scores: dict[str, Reference]
    """The dev scores of teacher and floor, by task."""
    rung_scores: dict[str, Reference]
    """The same by the probe, which is what scores at rungs."""
    test_scores: dict[str, Reference]
    """The same on the test splits, in a comparison; empty in a search, which leaves them to its end."""
    profiles: dict[str, dict[str, Any]]
    """Cost columns by shape; empty when there are too many shapes."""
    variants: dict[str, dict[str, dict[str, Any]]]
    """The same by further precision of [deploy]."""
    lengths: tuple[int, ...]
    """Of the texts that latency is measured on; none: full sequences."""
    meta: StudyMeta
    """The content of study.json."""


def prepare(
    study: Study, inputs: Inputs, step: Say, held: contextlib.ExitStack, say: Say, pace_ms: float | None = None
) -> Prepared:
    """Score and measure what a study reads. Raises SpecError with every task on which nothing can be measured.

    `step` tells that the next of STEPS begins. The target cache is kept from being deleted while `held` is open.
    pace_ms: of the machine when the study's costs were measured first; None: now.
    """
    spec, space = study.spec, study.space
    if spec.deploy.is_scored:
        need_calibration(spec.deploy, open_corpus(inputs.data.corpus))
    teacher, tasks = put_on_device(inputs.teacher, spec), inputs.data.tasks
    told = {name: as_teacher_reads(folder) for name, folder in tasks.items()}
    corpus = open_corpus(inputs.data.corpus)
    lines = (
        *head_lines(space, teacher, corpus), *removal_lines(space, teacher.source, corpus, say), *family_lines(space)
    )  # fmt: skip
    for line in lines:
        say(line)
    if spec.corpus.texts != "packed" and (line := few_steps(spec, corpus.tokens_per_row)):  # of blocks `run` has told
        say(f"warning: {line}")
    floors = spec.evaluation.floor_seeds
    step(f"teacher and {floors} untrained encoder{'s' * (floors > 1)} on {len(tasks)} task{'s' * (len(tasks) > 1)}")
    compared = spec.comparison.seeds is not None
    scores_s, shapes_s, states_s = expected_seconds(study, inputs.data.facts)
    splits = ["dev", "test"] if compared else ["dev"]
    by_split = score_all(spec, teacher, told, splits, say, expected_s=scores_s, later_s=shapes_s + states_s)
    scored = by_split["dev"]
    problems: list[str] = []
    for name, scores in scored.items():
        try:
            check_gap(
                name, scores.teacher.score, scores.floor, metric_of(load_task(tasks[name]), scores.teacher.metric).sign
            )
        except SpecError as error:
            problems += error.problems
    problems += better_by_cosine(spec, teacher, told, scored, say)
    if problems:
        raise SpecError(problems)
    for name, scores in scored.items():
        own = scores.teacher
        gap = Gap(own.metric, len(load_task(tasks[name]).splits["dev"]), own.score, scores.floor)
        if warning := gap.warning(name, "dev"):
            say(f"warning: {warning}")
        if line := no_better_line(inputs.data.facts.tasks[name], own.metric, own.score):
            say(f"warning: task {name}: {line}")
    rung_scores = references(score_rungs(spec, teacher, told, scored, say))
    step("size and speed of each shape, once per machine")
    lengths = timed_lengths(spec, tasks.values(), say)
    by_precision = {}
    for deploy in spec.deploy.each:
        alone = dataclasses.replace(spec, deploy=deploy)
        by_precision[deploy.first], pace_ms = measure_shapes(alone, space, teacher, say, states_s, pace_ms, lengths)
    profiles = by_precision.pop(spec.deploy.first)
    for each in by_precision.values():
        del each["teacher"]  # to which students are compared in the precision that the search goes by
    costs = profiles.pop("teacher")
    if students_embed(study):
        costs |= chosen_costs(dataclasses.asdict(teacher.facts.architecture), teacher.facts)
    step("what trials learn from")
    targets = prepare_targets(spec, space, teacher, str(inputs.data.corpus), all_seeds(spec), held, say)
    return Prepared(
        corpus=shared(inputs.data.corpus),
        targets=targets,
        tasks={name: shared(folder) for name, folder in tasks.items()},
        scores=references(scored),
        rung_scores=rung_scores,
        test_scores=references(by_split.get("test", {})),
        profiles=profiles,
        variants=by_precision,
        lengths=lengths,
        meta=dataclasses.replace(
            study_meta(study, scored, tasks, costs),
            pace_ms=pace_ms,
            data=inputs.data.facts,
            contents=digests_of(inputs.contents),
        ),
    )


def expected_seconds(study: Study, data: DataFacts) -> tuple[float, float, float]:
    """What scores of teacher and floor, costs and the teacher's states may take, about; on GPUs only costs are told.

    It may turn out that trials ask the teacher live.
    """
    shapes_s = SHAPE_S * (1 + len(shapes_to_measure(study.space))) * len(study.spec.deploy.precisions)
    if study.spec.cluster.gpus_per_worker:
        return 0.0, shapes_s, 0.0
    expected = hours(study, data, flops_per_s(study.spec))
    states_s = 0.0 if study.spec.targets.mode == "live" else 3600 * expected["what the teacher says"]
    return 3600 * expected["scores of teacher and floor"], shapes_s, states_s


def cost_columns(
    profiles: Mapping[str, Mapping[str, Any]], study: Study
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What a configuration costs, as far as that is known before it runs, by the costs of shapes."""
    embeds = students_embed(study)

    def costs(config: Mapping[str, Any]) -> dict[str, Any]:
        architecture = architecture_of(dict(config))
        known = profiles.get(shape_key(architecture))
        shape = dict(known) if known else known_costs(architecture, study.teacher, study.spec.latency)
        return shape | (chosen_costs(config, study.teacher) if embeds else {})

    return costs


def students_embed(study: Study) -> bool:
    """Whether a task is scored by embeddings alone."""
    asked, tasks = study.spec.evaluation.protocol, study.spec.tasks
    return not study.teacher.scores_pairs and any(protocol_for(task.kind, asked) == "zero_shot" for task in tasks)


def study_meta(
    study: Study, scored: Mapping[str, MeasuredReference], tasks: Mapping[str, Path], costs: Mapping[str, Any]
) -> StudyMeta:
    """study.json: `scored` are the dev scores by task, `costs` those of the teacher."""
    spec, facts = study.spec, study.teacher
    own, languages = {task.name: task for task in spec.tasks}, languages_of(spec.tasks)
    task_metas = {}
    for name, scores in scored.items():
        data = load_task(tasks[name])
        splits = data.splits
        sizes: dict[str, Any] = {
            f"num_{split}": len(splits[split]) if split in splits else 0 for split in ("train", "dev", "test")
        }
        task = own[name]
        positive = data.label_names[1] if scores.teacher.metric == "f1" and len(data.label_names) == 2 else None
        task_metas[name] = TaskMeta(
            kind=task.kind, language=languages.get(name), weight=task.weight, positive_class=positive, **sizes,
            metric=scores.teacher.metric, teacher=scores.teacher.score, floor=scores.floor,
            floor_seeds=scores.floor_seeds, teacher_layer=scores.teacher.layer, protocol=scores.teacher.protocol,
        )  # fmt: skip
    return StudyMeta(
        name=spec.name,
        created=now().isoformat(),
        seed=spec.seed,
        space_digest=study.space.digest(),
        objectives=tuple(spec.search.objectives),
        constraints=spec.search.constraints,
        train_tokens=spec.budget.train_tokens,
        num_trials=spec.budget.trials,
        sampler=spec.search.sampler,
        protocol=spec.evaluation.protocol,
        documents=spec.evaluation.documents,
        student_tokenizer=told_name(spec.student.tokenizer or "") if facts.reworded else "",
        teacher=TeacherMeta(
            **{
                key: getattr(facts, key)
                for key in TeacherMeta.__dataclass_fields__
                if hasattr(facts, key) and key != "family"
            },
            family=facts.family.name,
            **published(spec.teacher.path),
            costs={column.name: costs[column.name] for column in columns_of_costs() if column.name in costs},
        ),
        tasks=task_metas,
        latency=spec.latency,
        deploy=spec.deploy,
        hardware=hardware("cuda" if "cuda" in (spec.cluster.device, spec.latency.device) else "cpu"),
        versions=versions(),
        costs=tuple(COSTS),
        comparison=comparison_meta(spec, study.space),
        axes=axis_columns(study.space.own_axes),
        named_shapes={name: known_costs(shape, facts, spec.latency) for name, shape in SHAPES.items()},
    )
