"""A student leaves its study as a folder of its own, with a card that says where it comes from and what it scores."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.phases.agreement import score_both
from search.phases.confirmed import known_of
from search.phases.data import corpus_prompts
from search.phases.students import FLOOR, TEACHER, local_student
from search.store.contents import StoredData, stored_data, stored_table
from search.store.parts import Store
from spaces.errors import StillhouseError
from spaces.records.costs import columns_of_costs
from spaces.records.deploy import DeploySpec
from spaces.records.fronts import configuration, front_of, values_of, within
from spaces.records.meta import StudyMeta
from spaces.records.objectives import Aim
from spaces.records.rows import TrialRow
from spaces.records.runtimes import FLOAT_PRECISION, TORCH, check_precision, need_runtime
from spaces.records.shares import weights_text
from spaces.telling import Say
from trainables.export.artefact import write_artefact
from trainables.export.facts import ArtefactFacts, ScoreFacts, StudentFacts
from trainables.export.folders import export_student, verify_with_library
from trainables.models.embedding import embedder_of
from trainables.models.loading import quiet_transformers
from trainables.models.teacher import Teacher, load_teacher
from trainables.text.corpus import open_corpus, prepare_corpus


def export_trial(
    folder: str,
    trial: int,
    target: str,
    *,
    weights: bool = True,
    changes: Mapping[str, Any] | None = None,
    say: Say = print,
) -> Path:
    """Write the student of a trial, with a card that says where it comes from and what it scores.

    Beside it the file for the runtime that the study deploys to, whose corpus must be on this machine; `changes` are
    settings of [deploy] instead of the study's.
    """
    store = Store.of(folder)
    study = store.read_meta()
    rows = {row.trial: row for row in store.read_trials()}
    if trial not in rows:
        raise StillhouseError(f"{folder} has no trial {trial}; it has {min(rows, default=0)} to {max(rows, default=0)}")
    row = rows[trial]
    if row.status == "duplicate":
        row = rows[row.owner]
    deploy = deployed(study.deploy.of(row.precision), changes or {})
    if weights and deploy.is_file:
        need_runtime(deploy.runtime)
    asked = {each["trial"]: each for each in store.read_rows("asked")}
    with local_student(store, row) as source, quiet_transformers():
        student = load_teacher(str(source), where="the student in")
    spec = stored_table(store)
    config, tested = json.loads(asked[row.owner]["config"]), store.read_rows("test_scores")
    facts = replace(
        facts_of(study, spec, row, config, tested),
        front=place_on_front(row, list(rows.values()), study.aim),
        confirmed=known_of(row, list(rows.values()), study),
    )
    add = None
    if weights and deploy.is_file:
        add = functools.partial(add_artefact, student, stored_data(spec), deploy, row.seed, say)
    written = export_student(student.model, student.tokenizer, target, facts, weights=weights, add=add)
    if weights:
        verify_with_library(student.model, student.tokenizer, written)
    return written


def deployed(deploy: DeploySpec, changes: Mapping[str, Any]) -> DeploySpec:
    """What a study deploys, with changes. Raises SpecError for a precision that the runtime does not have."""
    if changes.get("runtime") == TORCH and "precision" not in changes:
        changes = {**changes, "precision": FLOAT_PRECISION}
    found = replace(deploy, **changes)
    check_precision(found.runtime, found.first)
    return found


def add_artefact(
    student: Teacher, data: StoredData, deploy: DeploySpec, seed: int, say: Say, folder: Path
) -> ArtefactFacts:
    """Write what runs in production into a student's folder, compared on the corpus and by the tasks of its study.

    Returns what its card says.
    """
    prompts = corpus_prompts(data.corpus, embedder_of(student.model))
    corpus = open_corpus(prepare_corpus(data.corpus, student.tokenizer, say, *prompts))
    facts = write_artefact(student.model, student.tokenizer, folder, deploy, corpus, say)
    return replace(facts, scores=score_both(student, deploy.runtime, folder / facts.file, data, seed, say))


def place_on_front(row: TrialRow, rows: Sequence[TrialRow], aim: Aim) -> str:
    """Where a trial stands among all of its study, in words."""
    members = front_of(rows, aim)
    front = f"the front of {', '.join(objective.name for objective in aim.objectives)}"
    key = functools.partial(configuration, axes=aim.axes)
    own = next((member for member in members if key(member) == key(row)), None)
    if len({key(each) for each in rows}) == 1:
        return ""  # a promoted study has nobody to compare with
    if own is not None:
        better = sum(member.rank_quality > own.rank_quality for member in members)
        if len(members) == 1:
            return f"No other student of its study is on {front}."
        count = "none of them has" if not better else f"{better} of them {'has' if better == 1 else 'have'}"
        return f"One of {len(members)} students on {front}; {count} more quality."
    if not within(values_of([row]), aim.limits).all():
        return f"Not on {front}: it is beyond the limits of its study ({aim.limits_text})."
    return f"Not on {front}: one of its {len(members)} students is as good in all of these and better in one."


def facts_of(
    study: StudyMeta,
    spec: Mapping[str, Any],
    row: TrialRow,
    config: Mapping[str, Any],
    tested: Sequence[Any],
) -> StudentFacts:
    """What a card shows and what repeats the trial, from the records of the study; no local paths."""
    scores = {}
    for task, facts in study.tasks.items():
        own = row.tasks[task]
        scores[task] = ScoreFacts(
            own.score, facts.metric, "dev", facts.kind, study.protocol_of(task), facts.num_dev,
            facts.weight if weights_text(study.weights) else None, facts.teacher, facts.floor, own.recovered,
            own.probe_layer,
        )  # fmt: skip
    for found in (each for each in tested if each["trial"] == row.trial):
        task = found["task"]
        base = {each["trial"]: each["score"] for each in tested if each["task"] == task}
        scores[task] = replace(
            scores[task], split="test", score=found["score"], teacher=base[TEACHER], floor=base[FLOOR],
            recovered=found["recovered"], layer=found["layer"], examples=study.tasks[task].num_test,
        )  # fmt: skip
    return StudentFacts(
        name=f"{study.name}-{row.trial:05d}",
        study=study.name,
        teacher=study.teacher.name,
        tokenizer=study.student_tokenizer or None,
        teacher_digest=study.teacher.digest,
        teacher_hub_id=study.teacher.hub_id,
        license=study.teacher.license,
        language=tuple(sorted(set(study.languages))) or study.teacher.languages,
        corpus=Path(spec["corpus"]["source"]).name,
        sequence_length=spec["corpus"]["sequence_length"],
        max_tokens=spec["corpus"].get("max_tokens"),
        language_temperature=spec["corpus"].get("language_temperature"),
        training=spec["training"],
        config=dict(config),
        method=row.config["method"],
        seed=row.seed,
        train_tokens=row.line_tokens,
        num_trials=study.num_trials,
        quality=row.quality,
        torch_quality=row.torch_quality,
        deploy=study.deploy.of(row.precision).name if study.deploy.is_file else None,
        scores=scores,
        costs={column.name: row.costs.get(column.name) for column in columns_of_costs()},
        latency=study.latency,
        hardware=row.hardware,
        versions=json.loads(row.versions) if row.versions else {},
    )
