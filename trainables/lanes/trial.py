"""One trial from a configuration to the measured columns of its row: distil, score, profile, save the student."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.fs
from transformers import PreTrainedModel

from spaces.records.costs import known_parameters
from spaces.records.filesystems import open_filesystem
from spaces.records.latency import LatencySpec
from spaces.records.shares import mean_share, weights_text
from spaces.students.architecture import architecture_of
from spaces.students.transfer import UNTRAINED
from spaces.values import from_json, to_json
from trainables.cache import cache_folder, digest, digest_files
from trainables.copies import at_hand, cached_value, place_of
from trainables.export.artefact import as_deployed
from trainables.export.facts import ScoreFacts, StudentFacts
from trainables.export.folders import export_student
from trainables.export.measuring import measure
from trainables.lanes.messages import TrialJob, TrialOutcome, Variant
from trainables.machine import versions
from trainables.models.embedding import embedder_of
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.file_encoder import FileEncoder
from trainables.models.loading import weight_files
from trainables.models.student import build_student, load_weights
from trainables.models.teacher import Teacher, load_teacher, told_name
from trainables.tasks.scores import Scores, StudentScore
from trainables.tasks.scoring import TaskData, load_task, recovered, score_task, worst_language
from trainables.text.corpus import Corpus, open_corpus
from trainables.training.checkpoint import CheckpointFile
from trainables.training.loop import distil
from trainables.training.reports import TrialReport
from trainables.training.settings import TrainingRun, Worker
from trainables.training.targets import Targets

CHECKPOINT = "checkpoint.safetensors"


@lru_cache(maxsize=1)
def kept_teacher(path: str, embedding: EmbeddingSpec, device: str, tokenizer: str | None = None) -> Teacher:
    """The teacher of the last trial in this process is nearly always the teacher of the next.

    tokenizer: of its students, where they have one of their own.
    """
    teacher = load_teacher(path, embedding, tokenizer)
    for each in (teacher, teacher.source):
        each.model.to(device)  # type: ignore[arg-type]
    return teacher


@lru_cache(maxsize=1)
def kept_corpus(folder: str) -> Corpus:
    """Mapped once per process."""
    return open_corpus(at_hand(folder))


@lru_cache(maxsize=1)
def kept_targets(folder: str) -> Targets | None:
    """Mapped once per process."""
    return Targets(place_of(folder)) if folder else None


@lru_cache(maxsize=32)
def kept_task(folder: str) -> TaskData:
    """Mapped once per process."""
    return load_task(at_hand(folder))


def run_trial(job: TrialJob, report: Callable[[TrialReport], None], rank: int = 0, world_size: int = 1) -> TrialOutcome:
    """Run a trial to its end; what ranks other than 0 return says nothing.

    A study on an object store gets its student, and each checkpoint, by upload. Raises TrialFailed when training leaves
    the road.
    """
    if "://" not in job.student_folder:
        return run_local(job, report, rank, world_size)
    with tempfile.TemporaryDirectory() as scratch:
        local = replace(
            job,
            folder=f"{scratch}/checkpoint",
            student_folder=f"{scratch}/{Path(job.student_folder).name}",
            checkpoint_copy=f"{job.folder}/{CHECKPOINT}",
        )
        outcome = run_local(local, report, rank, world_size)
        if rank == 0:
            filesystem, path = open_filesystem(job.student_folder)
            filesystem.create_dir(path, recursive=True)
            pyarrow.fs.copy_files(local.student_folder, path, destination_filesystem=filesystem)
    return outcome


def run_local(job: TrialJob, report: Callable[[TrialReport], None], rank: int, world_size: int) -> TrialOutcome:
    """The same with all folders on this machine's disk."""
    teacher = kept_teacher(job.teacher, job.embedding, job.device, job.tokenizer)
    source, corpus = teacher.source, kept_corpus(job.corpus)
    student = start_of(job, source, corpus)
    started = time.perf_counter()
    start = start_scores(student, job, source, corpus) if job.keeps_start and rank == 0 else None
    if job.config["method"] == UNTRAINED:
        return left_untrained(student, job, source, corpus, start, time.perf_counter() - started)
    embedder = embedder_of(student)
    trained = distil(
        student,
        teacher,
        corpus,
        TrainingRun(job.config, job.train_tokens, job.seed, job.training, job.rungs),
        report,
        score=lambda student: score_rung(student, job, corpus),
        targets=kept_targets(job.targets),
        checkpoint=CheckpointFile(Path(job.folder) / CHECKPOINT, job.checkpoint_copy),
        worker=Worker(rank, world_size),
    )
    if rank:
        return TrialOutcome()
    started = time.perf_counter()
    scores, test_scores = score(student, job, corpus)
    kept_tokens, after = trained.train_tokens, scores.quality
    in_own_space = embedder_of(student).same_space(embedder)  # a start has no map into the teacher's space to be kept
    if start is not None and after <= start.quality and in_own_space:
        student, scores, kept_tokens = start_of(job, source, corpus), start, 0
    variants = variants_of(student, job, source, corpus, is_start=kept_tokens == 0)
    scored = time.perf_counter()
    costs = profile(student, job, source)
    profiled = time.perf_counter()
    facts = replace(
        facts_of(job, source, costs, scores), method=job.config["method"], train_tokens=kept_tokens,
        held_out_loss=trained.held_out_loss,
    )  # fmt: skip
    export_student(student, source.tokenizer, job.student_folder, facts)
    return TrialOutcome(
        trained, scores, test_scores,
        start_quality=None if start is None else start.quality,
        trained_quality=None if start is None else after,
        kept_tokens=kept_tokens, costs=costs, variants=variants,
        evaluate_s=scored - started, profile_s=profiled - scored,
        student_path=f"students/{Path(job.student_folder).name}",
    )  # fmt: skip


def start_of(job: TrialJob, teacher: Teacher, corpus: Corpus) -> PreTrainedModel:
    """The student of a trial before its first step, on the device of the teacher, over whose vocabulary it is."""
    student = build_student(dict(job.config), teacher, job.seed, corpus).to(teacher.model.device)  # type: ignore[arg-type]
    if job.training.start is not None:
        load_weights(student, str(at_hand(job.training.start)))
    return student


def start_scores(student: PreTrainedModel, job: TrialJob, teacher: Teacher, corpus: Corpus) -> Scores:
    """The dev scores of a start. Trials with the same start share them through the cache."""
    tasks, weights = [Path(folder).name for folder in job.tasks], job.training.start
    known = (
        "start", 6, teacher.facts.digest, job.embedding, corpus.digest, type(student).__name__,
        architecture_of(job.config), job.config["initialisation"],
        weights and digest_files(weight_files(at_hand(weights))), job.seed, tasks,
        job.evaluation, job.floors, job.languages, job.weights,
        *([job.deploy.of(job.deploy.first), versions().get("onnxruntime")] if job.deploy.is_scored else []),
    )  # fmt: skip
    own = replace(job, test_floors={})
    folder = cache_folder() / "scores" / digest(*known)
    return from_json(
        Scores, json.dumps(cached_value(folder, lambda: json.loads(to_json(score(student, own, corpus)[0]))))
    )


def left_untrained(
    student: PreTrainedModel, job: TrialJob, teacher: Teacher, corpus: Corpus, start: Scores | None, evaluate_s: float
) -> TrialOutcome:
    """A start as it is, with the rest of what a trial comes to."""
    if start is None:
        return TrialOutcome()
    started = time.perf_counter()
    variants = variants_of(student, job, teacher, corpus, is_start=True)
    evaluate_s += time.perf_counter() - started
    started = time.perf_counter()
    costs = profile(student, job, teacher)
    facts = replace(facts_of(job, teacher, costs, start), method=UNTRAINED, train_tokens=0)
    export_student(student, teacher.tokenizer, job.student_folder, facts)
    return TrialOutcome(
        scores=start, start_quality=start.quality, kept_tokens=0, costs=costs, variants=variants, evaluate_s=evaluate_s,
        profile_s=time.perf_counter() - started, student_path=f"students/{Path(job.student_folder).name}",
    )  # fmt: skip


def variants_of(
    student: PreTrainedModel, job: TrialJob, teacher: Teacher, corpus: Corpus, *, is_start: bool
) -> tuple[Variant, ...]:
    """The student in the further precisions of [deploy], each scored and measured as the only one would be."""
    found = []
    for deploy in job.deploy.each[1:]:
        own = replace(job, deploy=deploy, test_floors={})
        scores = start_scores(student, own, teacher, corpus) if is_start else score(student, own, corpus)[0]
        found.append(Variant(deploy.first, scores, profile(student, own, teacher)))
    return tuple(found)


def facts_of(job: TrialJob, teacher: Teacher, costs: Mapping[str, Any], scores: Scores) -> StudentFacts:
    """What a trial itself knows of the student that it writes; the export from its study knows more."""
    weighted = bool(weights_text(job.weights))
    found = {}
    for task in map(kept_task, job.tasks):
        own, against = scores.tasks[task.name], job.floors[task.name]
        found[task.name] = ScoreFacts(
            own.score, own.metric, "dev", task.kind, own.protocol, len(task.splits["dev"]),
            job.weights.get(task.name, 1.0) if weighted else None, against.teacher, against.floor, own.recovered,
            own.layer,
        )  # fmt: skip
    return StudentFacts(
        name=f"student {job.trial}", teacher=teacher.facts.name, tokenizer=job.tokenizer and told_name(job.tokenizer),
        config=dict(job.config), seed=job.seed, costs=costs,
        quality=scores.quality, scores=found, versions=versions(),
    )  # fmt: skip


def score(student: PreTrainedModel, job: TrialJob, corpus: Corpus) -> tuple[Scores, dict[str, StudentScore]]:
    """The dev scores, and the test scores of the tasks of which the job has references on the test split.

    They are those of the file that the study hands over, where it does. The student's own quality stands beside them,
    by the probes that were fitted on the file: nothing else differs then, and train is not read again.
    """
    judged = as_deployed(student, job.deploy, corpus)
    scores, tested = score_tasks(judged, job)
    if judged is student:
        return scores, tested
    own, _ = score_tasks(student, replace(job, test_floors={}), judged)
    return replace(scores, torch_quality=own.quality), tested


def score_tasks(
    model: PreTrainedModel | FileEncoder, job: TrialJob, fitted_on: PreTrainedModel | FileEncoder | None = None
) -> tuple[Scores, dict[str, StudentScore]]:
    """`score` of a model as it is, by what was fitted on it or on that file."""
    found: dict[str, dict[str, StudentScore]] = {"dev": {}, "test": {}}
    for folder in job.tasks:
        task = kept_task(folder)
        references = {"dev": job.floors[task.name]}
        if task.name in job.test_floors:
            references["test"] = job.test_floors[task.name]
        for split, each in score_task(model, task, job.evaluation, list(references), job.seed, fitted_on).items():
            share = recovered(each.score, references[split].teacher, references[split].floor)
            found[split][task.name] = StudentScore(each.score, share, each.layer, each.metric, each.protocol)
    shares = {name: each.recovered for name, each in found["dev"].items()}
    worst = worst_language(shares, job.languages, job.weights) if job.languages else (None, None)
    return Scores(mean_share(shares, job.weights), found["dev"], *worst), found["test"]


def score_rung(student: PreTrainedModel, job: TrialJob, corpus: Corpus) -> Scores:
    """The scores in the middle of training, whatever protocol decides at its end."""
    at_rung = replace(job, evaluation=job.evaluation.at_rungs(), floors=job.rung_floors, test_floors={})
    return score_tasks(as_deployed(student, job.deploy, corpus), at_rung)[0]


def profile(student: PreTrainedModel, job: TrialJob, teacher: Teacher) -> dict[str, Any]:
    """Size always, latency only where the study has not measured this shape already."""
    shape = architecture_of(dict(job.config))
    if job.latency is not None:
        return measure(student, shape, teacher.facts, job.latency, job.deploy, job.lengths)
    return dict(known_parameters(shape, teacher.facts, LatencySpec()))
