"""One trial from a configuration to the measured columns of its row: distil, score, profile, save the student."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from spaces.students.architecture import architecture_of, count_parameters
from trainables.export.folders import export_student
from trainables.export.measuring import measure
from trainables.machine import versions
from trainables.models.student import build_student, load_weights
from trainables.models.teacher import Teacher, load_teacher
from trainables.tasks.scoring import TaskData, load_task, recovered, score_task, worst_language
from trainables.text.corpus import Corpus, open_corpus
from trainables.training.loop import distil
from trainables.training.settings import TrainingSpec
from trainables.training.targets import Targets

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class TrialJob:
    """Everything that one trial needs; plain values, for it travels to a worker."""

    trial: int
    config: dict[str, Any]
    seed: int
    teacher: str
    corpus: str
    """The prepared corpus folder."""
    tasks: tuple[str, ...]
    """The prepared task folders."""
    train_tokens: int
    protocol: str
    floors: Mapping[str, Mapping[str, float]]
    """Per task the dev scores of "teacher" and "floor"."""
    training: Mapping[str, Any]
    latency: Mapping[str, Any] | None
    """How to measure latency; None when the study measured all its shapes beforehand."""
    folder: str
    """Where the checkpoint of the running trial is kept."""
    student_folder: str
    """Where the finished student goes."""
    checkpoint_copy: str = ""
    """URI of a copy of the checkpoint, for nodes that do not share `folder`; empty when they do."""
    languages: Mapping[str, str] = field(default_factory=dict)
    """The language of each task that names one."""
    targets: str = ""
    """The target cache; empty when the teacher runs live."""
    rungs: tuple[int, ...] = ()
    """Token counts at which the student is scored by the probe while it trains."""
    test_floors: Mapping[str, Mapping[str, float]] | None = None
    """Per task the test scores of "teacher" and "floor", when the student is to be scored there too."""
    rung_floors: Mapping[str, Mapping[str, float]] | None = None
    """`floors` of the probe; None when `protocol` is the probe."""


@lru_cache(maxsize=1)
def kept_teacher(path: str, device: str) -> Teacher:
    """The teacher of the last trial in this process is nearly always the teacher of the next."""
    teacher = load_teacher(path)
    teacher.model.to(device)  # type: ignore[arg-type]
    return teacher


@lru_cache(maxsize=1)
def kept_corpus(folder: str) -> Corpus:
    """Mapped once per process."""
    return open_corpus(Path(folder))


@lru_cache(maxsize=1)
def kept_targets(folder: str) -> Targets | None:
    """Mapped once per process."""
    return Targets(Path(folder)) if folder else None


@lru_cache(maxsize=32)
def kept_task(folder: str) -> TaskData:
    """Mapped once per process."""
    return load_task(folder)


def run_trial(job: TrialJob, report: Callable[[dict], None], rank: int = 0, world_size: int = 1) -> dict[str, Any]:
    """Run a trial to its end; rank 0 returns the measured columns, the other ranks an empty dict.

    Raises TrialFailed when training leaves the road.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    teacher = kept_teacher(job.teacher, device)
    student = build_student(job.config, teacher, job.seed, kept_corpus(job.corpus)).to(device)  # type: ignore[arg-type]
    training = TrainingSpec(**job.training)
    if training.start is not None:
        load_weights(student, training.start)
    trained = distil(
        student, teacher, kept_corpus(job.corpus), job.config, training, job.train_tokens, job.seed,
        report, Path(job.folder) / CHECKPOINT, rank, world_size, job.rungs, lambda student: score_rung(student, job),
        kept_targets(job.targets), job.checkpoint_copy,
    )  # fmt: skip
    if rank:
        return {}
    started = time.perf_counter()
    scores = score(student, job)
    scored = time.perf_counter()
    costs = profile(student, job, teacher)
    profiled = time.perf_counter()
    card = {
        "name": f"student {job.trial}", "teacher": teacher.facts.name, "config": job.config,
        "method": job.config["method"],
        "seed": job.seed, **{key: trained[key] for key in ("train_tokens", "held_out_loss")}, **costs,
        "quality": scores["quality"], "versions": versions(),
    }  # fmt: skip
    export_student(student, teacher.tokenizer, job.student_folder, card)
    return {
        **trained, **scores, **costs,
        "evaluate_s": scored - started, "profile_s": profiled - scored,
    }  # fmt: skip


def score(student: PreTrainedModel, job: TrialJob) -> dict[str, Any]:
    """Dev scores, the share of the teacher's gap that each recovers, the probed layers, and their mean: quality.

    Where tasks name their language, also the worst one. `test_scores` are the student's rows of that dataset, for the
    tasks of which the job has references on the test split.
    """
    columns: dict[str, Any] = {}
    tested: list[dict[str, Any]] = []
    shares: dict[str, float] = {}
    for folder in job.tasks:
        task = kept_task(folder)
        on_test = (job.test_floors or {}).get(task.name)
        splits = ["dev"] if on_test is None else ["dev", "test"]
        scores = score_task(student, task, job.protocol, splits, job.seed)
        found, reference = scores["dev"], job.floors[task.name]
        shares[task.name] = recovered(found.score, reference["teacher"], reference["floor"])
        columns |= {
            f"score_{task.name}": found.score, f"recovered_{task.name}": shares[task.name],
            f"probe_layer_{task.name}": found.layer,
        }  # fmt: skip
        if on_test is not None:
            share = recovered(scores["test"].score, on_test["teacher"], on_test["floor"])
            tested.append({
                "trial": job.trial, "task": task.name, "protocol": found.protocol, "score": scores["test"].score,
                "recovered": share, "layer": found.layer, "metric": found.metric,
            })  # fmt: skip
    if job.languages:
        columns["worst_language"], columns["worst_language_quality"] = worst_language(shares, job.languages)
    return {"quality": sum(shares.values()) / len(shares), **columns, "test_scores": tested}


def score_rung(student: PreTrainedModel, job: TrialJob) -> dict[str, Any]:
    """The probe's scores in the middle of training, whatever protocol decides at its end."""
    return score(student, replace(job, protocol="probe", floors=job.rung_floors or job.floors, test_floors=None))


def profile(student: PreTrainedModel, job: TrialJob, teacher: Teacher) -> dict[str, Any]:
    """Size always, latency only where the study has not measured this shape already."""
    shape = architecture_of(job.config)
    if job.latency is not None:
        return asdict(measure(student, shape, teacher.facts, **job.latency))
    return {
        "parameters": count_parameters(shape, teacher.facts),
        "parameters_without_embeddings": count_parameters(shape, teacher.facts, embeddings=False),
    }
