"""One trial from a configuration to the measured columns of its row: distil, score, profile, save the student."""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.fs
from transformers import PreTrainedModel

from spaces.records.costs import known_parameters
from spaces.records.filesystems import copy_folder, open_filesystem
from spaces.records.latency import LatencySpec
from spaces.records.shares import weights_text
from spaces.students.architecture import architecture_of
from spaces.students.transfer import UNTRAINED
from trainables.export.facts import ScoreFacts, StudentFacts
from trainables.export.folders import export_student
from trainables.export.measuring import measure
from trainables.lanes.judging import score, score_rung
from trainables.lanes.kept import kept_corpus, kept_targets, kept_task, kept_teacher
from trainables.lanes.messages import TrialJob, TrialOutcome, Variant
from trainables.lanes.notice import given
from trainables.lanes.starting import Start, rebuilt, start_of, start_scores
from trainables.machine import versions
from trainables.models.embedding import embedder_of
from trainables.models.teacher import Teacher, told_name
from trainables.tasks.scores import Scores
from trainables.text.corpus import Corpus
from trainables.training.checkpoint import CheckpointFile
from trainables.training.earlier import best_rung, put_back
from trainables.training.loop import distil
from trainables.training.reports import TrialReport
from trainables.training.settings import TrainingRun, Worker

CHECKPOINT = "checkpoint.safetensors"


def run_trial(job: TrialJob, report: Callable[[TrialReport], None], rank: int = 0, world_size: int = 1) -> TrialOutcome:
    """Run a trial to its end; what ranks other than 0 return says nothing.

    A study on an object store gets its student, and each checkpoint, by upload. Raises TrialFailed when training leaves
    the road, and Leaving when the worker was told to leave while it trained.
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
            copy_folder(pyarrow.fs.LocalFileSystem(), local.student_folder, filesystem, path)
    return outcome


def run_local(job: TrialJob, report: Callable[[TrialReport], None], rank: int, world_size: int) -> TrialOutcome:
    """The same with all folders on this machine's disk."""
    teacher = kept_teacher(job.teacher, job.embedding, job.device, job.tokenizer)
    source, corpus = teacher.source, kept_corpus(job.corpus)
    started = time.perf_counter()
    start = start_of(job, source, corpus, rank)
    if job.config["method"] == UNTRAINED:
        return left_untrained(start, job, source, corpus, time.perf_counter() - started)
    student = start.student
    embedder = embedder_of(student)
    run = TrainingRun(job.config, job.train_tokens, job.seed, job.training, job.rungs, start.generation)
    checkpoint = CheckpointFile(Path(job.folder) / CHECKPOINT, job.checkpoint_copy)
    comparable = job.evaluation == job.evaluation.at_rungs()
    trained = distil(
        student,
        teacher,
        corpus,
        run,
        report,
        score=lambda student: score_rung(student, job, corpus),
        targets=kept_targets(job.targets),
        checkpoint=checkpoint,
        worker=Worker(rank, world_size),
        is_told=given.is_set,
        keeps_above=start.scores.quality if start.scores is not None and comparable else math.inf,
    )
    if rank:
        return TrialOutcome()
    started = time.perf_counter()
    scores, test_scores = score(student, job, corpus)
    kept_tokens, after = trained.train_tokens, scores.quality
    in_own_space = embedder_of(student).same_space(embedder)  # a start has no map into the teacher's space to be kept
    earlier = best_rung(checkpoint, run)
    if earlier is not None and earlier.quality > after:
        put_back(student, embedder, teacher, corpus, run, checkpoint)
        scores, test_scores = score(student, job, corpus)
        kept_tokens = earlier.train_tokens
    elif start.scores is not None and after <= start.scores.quality and in_own_space:
        student, scores, kept_tokens = rebuilt(start, job, source, corpus), start.scores, 0
    is_shared = kept_tokens == 0 and start.ancestor is None
    variants = variants_of(student, job, source, corpus, is_shared_start=is_shared)
    scored = time.perf_counter()
    costs = profile(student, job, source)
    profiled = time.perf_counter()
    facts = replace(
        facts_of(job, source, costs, scores), method=job.config["method"], train_tokens=kept_tokens + start.tokens,
        held_out_loss=trained.held_out_loss if kept_tokens == trained.train_tokens else None,
    )  # fmt: skip
    export_student(student, source.tokenizer, job.student_folder, facts)
    return TrialOutcome(
        trained, scores, test_scores,
        start_quality=start.quality, trained_quality=None if start.quality is None else after,
        kept_tokens=kept_tokens, costs=costs, variants=variants,
        evaluate_s=scored - started, profile_s=profiled - scored,
        student_path=f"students/{Path(job.student_folder).name}",
        parent=start.ancestor.trial if start.ancestor else None,
        ancestor_tokens=start.tokens if start.ancestor else None,
    )  # fmt: skip


def left_untrained(start: Start, job: TrialJob, teacher: Teacher, corpus: Corpus, evaluate_s: float) -> TrialOutcome:
    """A start as it is, with the rest of what a trial comes to."""
    student, scores = start.student, start.scores
    if scores is None:
        return TrialOutcome()
    started = time.perf_counter()
    variants = variants_of(student, job, teacher, corpus, is_shared_start=True)
    evaluate_s += time.perf_counter() - started
    started = time.perf_counter()
    costs = profile(student, job, teacher)
    facts = replace(facts_of(job, teacher, costs, scores), method=UNTRAINED, train_tokens=0)
    export_student(student, teacher.tokenizer, job.student_folder, facts)
    return TrialOutcome(
        scores=scores, start_quality=scores.quality, kept_tokens=0, costs=costs, variants=variants,
        evaluate_s=evaluate_s, profile_s=time.perf_counter() - started,
        student_path=f"students/{Path(job.student_folder).name}",
    )  # fmt: skip


def variants_of(
    student: PreTrainedModel, job: TrialJob, teacher: Teacher, corpus: Corpus, *, is_shared_start: bool
) -> tuple[Variant, ...]:
    """The student in the further precisions of [deploy], each scored and measured as the only one would be.

    is_shared_start: whether it is the start of its configuration as it was.
    """
    found = []
    for deploy in job.deploy.each[1:]:
        own = replace(job, deploy=deploy, test_floors={})
        scores = start_scores(student, own, teacher, corpus) if is_shared_start else score(student, own, corpus)[0]
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


def profile(student: PreTrainedModel, job: TrialJob, teacher: Teacher) -> dict[str, Any]:
    """Size always, latency only where the study has not measured this shape already."""
    shape = architecture_of(dict(job.config))
    if job.latency is not None:
        return measure(student, shape, teacher.facts, job.latency, job.deploy, job.lengths)
    return dict(known_parameters(shape, teacher.facts, LatencySpec()))
