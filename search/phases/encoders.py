"""What encoders score on a task, each by what it is made of: measured once per model, task, protocol, split and seed.

The functions that end in `_there` are called on workers of the cluster, where the teacher is not at hand; no Ray is
imported here, so that a worker begins soon.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from search.phases.students import local_student
from search.spec.sections import StudySpec
from search.store.parts import Store
from spaces.records.rows import TrialRow
from spaces.students.architecture import StudentArchitecture
from trainables.cache import cache_folder, digest, read_value, store_value
from trainables.copies import at_hand, is_kept, shared
from trainables.export.artefact import as_deployed
from trainables.lanes.kept import kept_corpus, kept_task, kept_teacher
from trainables.lanes.settings import ClusterSpec
from trainables.machine import versions_of
from trainables.models.embedding import embedder_of
from trainables.models.file_encoder import FileEncoder
from trainables.models.loading import quiet_transformers
from trainables.models.student import truncated, untrained
from trainables.models.teacher import Teacher, load_teacher
from trainables.tasks.scores import EncoderScore
from trainables.tasks.scoring import in_bf16, load_task, score_task
from trainables.tasks.spec import FINETUNE
from trainables.text.corpus import Corpus
from trainables.training.target_shards import build_shard
from trainables.training.targets import Part, TargetPlan


def put_on_device(teacher: Teacher, spec: StudySpec) -> Teacher:
    """The teacher on the GPU when this process sees one and the study does not keep to CPUs."""
    if sees_gpu(spec.cluster):
        for each in (teacher, teacher.source):
            each.model.to("cuda")  # type: ignore[arg-type]
    return teacher


def sees_gpu(wanted: ClusterSpec) -> bool:
    """Whether this process has a GPU that the study may use."""
    return wanted.gpus_per_worker != 0 and torch.cuda.is_available()


@dataclass(frozen=True)
class ScoredEncoder:
    """An encoder whose scores are kept in the cache."""

    model: PreTrainedModel | FileEncoder
    identity: str
    """a digest of what it is made of"""
    spec: StudySpec
    seed: int

    def scores(self, task: Path, splits: Sequence[str]) -> dict[str, EncoderScore]:
        """By split; what is missing is measured, after one fit."""
        folders = self.folders(task, splits)
        if missing := [split for split, folder in folders.items() if not is_kept(folder)]:
            for split, result in score_task(
                self.model, load_task(task), self.spec.evaluation, missing, self.seed
            ).items():
                found = EncoderScore(result.score, result.layer, result.metric, result.protocol)
                store_value(folders[split], asdict(found))
                shared(folders[split])
        return {split: EncoderScore(**read_value(folder)) for split, folder in folders.items()}

    def folders(self, task: Path, splits: Sequence[str]) -> dict[str, Path]:
        """Where the cache keeps the score on each split, or will."""
        own = self.spec.evaluation
        how = [own.protocol, own.layer, in_bf16(self.model, own), *embedder_of(self.model).identity()]
        if own.protocol == FINETUNE:
            how.append(str(own.recipe))
        scores = cache_folder() / "scores"
        return {split: scores / digest(5, self.identity, task.name, *how, split, self.seed) for split in splits}


def reference_encoder(teacher: Teacher, spec: StudySpec, seed: int | None) -> ScoredEncoder:
    """The teacher itself; with a seed, one of the floor: its shape and tokenizer, never trained."""
    if seed is None:
        return ScoredEncoder(teacher.model, teacher.facts.digest, spec, spec.seed)
    model = untrained(teacher, teacher.facts.architecture, seed).to(teacher.model.device)  # type: ignore[arg-type]
    shape = json.dumps(model.config.to_dict(), sort_keys=True, default=str)
    return ScoredEncoder(model, digest("untrained", shape, seed), spec, seed)


def score_reference(
    teacher: Teacher, spec: StudySpec, task: str, splits: Sequence[str], seed: int | None
) -> dict[str, EncoderScore]:
    """What a reference encoder scores on a task, by split."""
    return reference_encoder(teacher, spec, seed).scores(at_hand(task), splits)


def score_reference_there(
    spec: StudySpec, task: str, splits: Sequence[str], seed: int | None
) -> dict[str, EncoderScore]:
    """`score_reference` with the teacher that the process keeps."""
    return score_reference(teacher_there(spec), spec, task, splits, seed)


def score_student(
    store: Store, spec: StudySpec, row: TrialRow, corpus: str, tasks: Mapping[str, str]
) -> dict[str, EncoderScore]:
    """What the student of a trial scores on the test split of each task, as its study deploys it."""
    with local_student(store, row) as folder, quiet_transformers():
        student = put_on_device(load_teacher(str(folder), where="the student in"), spec).model
    model = as_deployed(student, spec.deploy.of(row.precision), kept_corpus(corpus))
    found = {}
    for name, task in tasks.items():
        own = score_task(model, kept_task(task), spec.evaluation, ["test"], row.seed)["test"]
        found[name] = EncoderScore(own.score, own.layer, own.metric, own.protocol)
    return found


def score_student_there(
    study: str, spec: StudySpec, row: TrialRow, corpus: str, tasks: Mapping[str, str]
) -> dict[str, EncoderScore]:
    """`score_student` of a study by its URI."""
    return score_student(Store(study), spec, row, corpus, tasks)


def score_cut(
    teacher: Teacher,
    corpus: Corpus,
    spec: StudySpec,
    shape: StudentArchitecture,
    which: str,
    tasks: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, EncoderScore]]:
    """What the teacher cut to a shape scores, by task and split. `tasks`: the splits of each task's folder."""
    cut = truncated(teacher, shape, which, corpus).to(teacher.model.device)  # type: ignore[arg-type]
    model = as_deployed(cut, spec.deploy, corpus)
    how = [spec.deploy.name, *versions_of(spec.deploy.runtime)] if spec.deploy.is_scored else []
    identity = digest("truncated", 2, teacher.facts.digest, corpus.digest, str(shape), which, *how)
    encoder = ScoredEncoder(model, identity, spec, spec.seed)
    return {task: encoder.scores(at_hand(task), splits) for task, splits in tasks.items()}


def score_cut_there(
    corpus: str, spec: StudySpec, shape: StudentArchitecture, which: str, tasks: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, EncoderScore]]:
    """`score_cut` with the teacher that the process keeps."""
    return score_cut(teacher_there(spec).source, kept_corpus(corpus), spec, shape, which, tasks)


def teacher_there(spec: StudySpec) -> Teacher:
    """The teacher that this process keeps, for students of the study."""
    with quiet_transformers():
        return kept_teacher(spec.teacher.path, spec.embedding, spec.cluster.device, spec.student.tokenizer)


def write_shard_there(spec: StudySpec, plan: TargetPlan, part: Part, number: int) -> float:
    """Write one shard of the teacher's targets; its rounding error."""
    return build_shard(plan, part, number, teacher_there(spec))
