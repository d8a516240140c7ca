"""The start of a trial: the weights of its configuration, or those of an ancestor, whichever has the better scores."""

import copy
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.fs
from transformers import PreTrainedModel

from spaces.records.filesystems import copy_folder, open_filesystem
from spaces.students.architecture import architecture_of
from spaces.values import from_json, to_json
from trainables.cache import cache_folder, digest, digest_files
from trainables.copies import at_hand, cached_value
from trainables.lanes.judging import score
from trainables.lanes.messages import Ancestor, TrialJob
from trainables.machine import versions_of
from trainables.models.loading import weight_files
from trainables.models.student import build_student, load_weights
from trainables.models.teacher import Teacher
from trainables.tasks.scores import Scores
from trainables.tasks.scoring import in_bf16
from trainables.text.corpus import Corpus


@dataclass(frozen=True)
class Start:
    """A student before its first step."""

    student: PreTrainedModel
    ancestor: Ancestor | None = None
    """Whose weights it has; None: those of its configuration."""
    scores: Scores | None = None
    """On dev, where they were asked for."""

    @property
    def quality(self) -> float | None:
        """On dev."""
        return None if self.scores is None else self.scores.quality

    @property
    def tokens(self) -> int:
        """That it has come through already."""
        return self.ancestor.tokens if self.ancestor else 0

    @property
    def generation(self) -> int:
        """0 without an ancestor."""
        return self.ancestor.generation if self.ancestor else 0


def start_of(job: TrialJob, teacher: Teacher, corpus: Corpus, rank: int = 0) -> Start:
    """The start of a trial, on the device of the teacher, over whose vocabulary it is.

    An ancestor's weights are taken where they are given, or where their dev quality is above that of the
    configuration's own: each rank scores both then, and comes to the same.
    """
    own = build(job, teacher, corpus)
    if job.ancestor is None:
        return Start(own, None, start_scores(own, job, teacher, corpus) if job.keeps_start and rank == 0 else None)
    inherited = copy.deepcopy(own)
    take_over(inherited, job.ancestor)
    theirs = score(inherited, replace(job, test_floors={}), corpus)[0]
    if job.ancestor.is_given:
        return Start(inherited, job.ancestor, theirs)
    ours = start_scores(own, job, teacher, corpus)
    return Start(inherited, job.ancestor, theirs) if theirs.quality > ours.quality else Start(own, None, ours)


def rebuilt(start: Start, job: TrialJob, teacher: Teacher, corpus: Corpus) -> PreTrainedModel:
    """The student of a start once more, after it was trained."""
    student = build(job, teacher, corpus)
    if start.ancestor is not None:
        take_over(student, start.ancestor)
    return student


def build(job: TrialJob, teacher: Teacher, corpus: Corpus) -> PreTrainedModel:
    """The student as its configuration begins it, or with the weights that the study gives to all."""
    student = build_student(dict(job.config), teacher, job.seed, corpus).to(teacher.model.device)  # type: ignore[arg-type]
    if job.training.start is not None:
        load_weights(student, str(at_hand(job.training.start)))
    return student


def take_over(student: PreTrainedModel, ancestor: Ancestor) -> None:
    """Put an ancestor's weights into a student; those on an object store are fetched for that."""
    if "://" not in ancestor.folder:
        return load_weights(student, ancestor.folder)
    filesystem, path = open_filesystem(ancestor.folder)
    with tempfile.TemporaryDirectory() as scratch:
        copy_folder(filesystem, path, pyarrow.fs.LocalFileSystem(), scratch)
        load_weights(student, scratch)


def start_scores(student: PreTrainedModel, job: TrialJob, teacher: Teacher, corpus: Corpus) -> Scores:
    """The dev scores of a configuration's own start. Trials with the same share them through the cache."""
    tasks, weights = [Path(folder).name for folder in job.tasks], job.training.start
    known = (
        "start", 7, teacher.facts.digest, job.embedding, corpus.digest, type(student).__name__,
        architecture_of(job.config), job.config["initialisation"],
        weights and digest_files(weight_files(at_hand(weights))), job.seed, tasks,
        job.evaluation, in_bf16(student, job.evaluation), job.floors, job.languages, job.weights,
        *([job.deploy.of(job.deploy.first), *versions_of(job.deploy.runtime)] if job.deploy.is_scored else []),
    )  # fmt: skip
    own = replace(job, test_floors={})
    folder = cache_folder() / "scores" / digest(*known)
    return from_json(
        Scores, json.dumps(cached_value(folder, lambda: json.loads(to_json(score(student, own, corpus)[0]))))
    )
