"""What travels between the search and a trial: a job there, reports (training/reports.py) and one outcome back.

Frozen values. They are JSON (spaces/values.py) where Ray Tune carries them, for it flattens and amends dictionaries,
and themselves on the way between a lane and its workers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from spaces.records.deploy import DeploySpec
from spaces.records.latency import LatencySpec
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.tasks.scores import Reference, Scores, StudentScore
from trainables.tasks.spec import EvaluationSpec
from trainables.training.reports import Trained
from trainables.training.settings import TrainingSpec


@dataclass(frozen=True)
class Ancestor:
    """A finished student of the same study that a trial may go on from."""

    trial: int
    folder: str
    """Of its weights, a path or a URI."""
    tokens: int
    """That it has trained on, those of its own ancestors among them."""
    generation: int
    """Of the trial that goes on from it: 1 where it has no ancestor itself."""
    is_given: bool = False
    """Whether the trial is there to train this student on, whatever the start of its configuration is worth."""


@dataclass(frozen=True)
class TrialJob:
    """Everything that one trial needs."""

    trial: int
    config: Mapping[str, Any]
    seed: int
    teacher: str
    corpus: str
    """The prepared corpus folder."""
    tasks: tuple[str, ...]
    """The prepared task folders."""
    train_tokens: int
    evaluation: EvaluationSpec
    floors: Mapping[str, Reference]
    """What dev scores are measured against, by task."""
    device: str = "cpu"
    """Where the trial runs, cpu or cuda: what the study has booked, whatever else the worker sees."""
    embedding: EmbeddingSpec = field(default_factory=EmbeddingSpec)
    tokenizer: str | None = None
    """Of students, where they have one of their own; None: the teacher's."""
    training: TrainingSpec = field(default_factory=TrainingSpec)
    latency: LatencySpec | None = None
    """How to measure latency; None when the study measured all its shapes beforehand."""
    lengths: tuple[int, ...] = ()
    """Of the texts that latency is measured on; none: full sequences."""
    deploy: DeploySpec = field(default_factory=DeploySpec)
    """What is handed over, and so scored and measured."""
    folder: str = ""
    """Where the checkpoint of the running trial is kept."""
    student_folder: str = ""
    """Where the finished student goes."""
    checkpoint_copy: str = ""
    """URI of a copy of the checkpoint, for nodes that do not share `folder`; empty when they do."""
    ancestor: Ancestor | None = None
    """Whose weights it starts from where their dev quality is above that of the start of its configuration."""
    keeps_start: bool = False
    """Whether the start is scored as well and is the student where training does not raise its dev quality."""
    languages: Mapping[str, str] = field(default_factory=dict)
    """The language of each task that names one."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of each task in quality; a task without one has 1."""
    targets: str = ""
    """The target cache; empty when the teacher runs live."""
    rungs: tuple[int, ...] = ()
    """Token counts at which the student is scored while it trains."""
    rung_floors: Mapping[str, Reference] = field(default_factory=dict)
    """`floors` of how students are scored at rungs."""
    test_floors: Mapping[str, Reference] = field(default_factory=dict)
    """`floors` on the test splits, for the tasks on which the student is to be scored there too."""


@dataclass(frozen=True)
class Variant:
    """The student of a trial in another precision than the one that the search goes by."""

    precision: str
    scores: Scores
    costs: Mapping[str, Any]
    """Measured costs by their columns."""


@dataclass(frozen=True)
class TrialOutcome:
    """What came of a trial: measured values, or the reason why there are none."""

    trained: Trained | None = None
    scores: Scores | None = None
    test_scores: Mapping[str, StudentScore] = field(default_factory=dict)
    """On the test splits, by task."""
    costs: Mapping[str, Any] = field(default_factory=dict)
    """Measured costs by their columns."""
    variants: tuple[Variant, ...] = ()
    """The same student in the further precisions of [deploy]."""
    evaluate_s: float | None = None
    profile_s: float | None = None
    student_path: str = ""
    """The student's folder inside the study folder."""
    reason: str = ""
    """Why the trial failed, in one line; empty when it did not."""
    traceback: str = ""
    """For the log."""
    disk_full: bool = False
    """The reason is no fault of the trial's: the next one would meet it as well."""
    start_up_s: float | None = None
    """From being handed the trial to its first step; told by the lane."""
    started_at: datetime | None = None
    start_quality: float | None = None
    """Dev quality before the first step; None where it was not asked for."""
    trained_quality: float | None = None
    """Dev quality after the last step, where the start was scored too; `scores` are those of the better one."""
    kept_tokens: int | None = None
    """Tokens that the student which is kept had trained on: 0 for its start."""
    parent: int | None = None
    """Trial whose student it went on from."""
    ancestor_tokens: int | None = None
    """That this student had trained on."""
