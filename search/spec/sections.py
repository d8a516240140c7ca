"""A study spec, put together from its sections: every key with its type, default, rules and meaning.

Sections that trials use are declared in the rooms that use them; those of the search itself here. What stands beside
each field is what `stillhouse check --explain` prints; reading.py reads by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.samplers.registry import FREEZE_THAW, GRID, SAMPLERS, SCHEDULES
from spaces.records.deploy import DeploySpec
from spaces.records.latency import LatencySpec
from spaces.settings import setting
from trainables.lanes.settings import ClusterSpec
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.sources import CorpusSpec
from trainables.training.settings import TrainingSpec

TRACKERS = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}
"""Callbacks of Ray Tune that may be switched on, and the package that each needs; also the names of the extras."""


@dataclass(frozen=True)
class TeacherSpec:
    path: str = setting("model folder, hub id, or package:module/path")


@dataclass(frozen=True)
class StudentSpec:
    tokenizer: str | None = setting(
        "folder, hub id or package:module/path of a tokenizer that students have in place of the teacher's, with its "
        "vocabulary; for methods that compare embeddings alone",
        None,
    )


@dataclass(frozen=True)
class BudgetSpec:
    trials: int = setting(
        "trials to run, without duplicates and infeasible draws; under freeze_thaw the tokens of so many whole trials",
        20,
        at_least=1,
    )
    train_tokens: int = setting("tokens every trial trains on", 1_000_000, at_least=1)
    hours: float | None = setting(
        "hours of searching, over all runs of the study; unset: until the trials are spent", None, above=0
    )
    cost: float | None = setting(
        "what the workers of all trials may cost, over all runs of the study, at [cluster] worker_price; unset: until "
        "the trials are spent",
        None,
        above=0,
    )
    final_share: float = setting(
        "share of trials, hours and cost kept for the end of the search: each member of the front trains on, from its "
        "own weights and for train_tokens more, that with the fewest tokens first",
        0.0,
        at_least=0,
        below=1,
    )


@dataclass(frozen=True)
class RungsSpec:
    first_tokens: int | None = setting(
        "tokens after which trials are first compared and weak ones stopped; unset: every trial trains its budget",
        None,
        at_least=1,
    )
    factor: int = setting(
        "each rung has this many times the tokens of the one before; the best 1/factor of a rung go on", 3, at_least=2
    )
    protected: int = setting("trials of each method that pass each rung whatever they score", 1, at_least=0)


@dataclass(frozen=True)
class TargetsSpec:
    mode: str = setting(
        "cache: write the teacher's states once; live: run it in each trial; auto: the faster",
        "auto",
        choices=("auto", "cache", "live"),
    )
    dtype: str = setting("how the states are kept", "float16", choices=("float16", "bfloat16", "int8"))
    quota_gb: float = setting("disk that the target caches of all studies may take, in GB", 20.0, above=0)


@dataclass(frozen=True)
class StorageSpec:
    quota_gb: float = setting(
        "disk that students and checkpoints of the study may take, in GB; those beaten by most others are deleted "
        "first, and never what `best` and `export` can still pick",
        20.0,
        above=0,
    )


@dataclass(frozen=True)
class SearchSpec:
    sampler: str = setting(
        "how configurations are drawn; where [rungs] are set, under the schedule halving only",
        "tpe",
        choices=(*SAMPLERS, GRID),
    )
    objectives: tuple[str, ...] = setting(
        "what is optimised; quality and at least one cost, and worst_language_quality where tasks have languages",
        ("quality", "parameters"),
    )
    constraints: Mapping[str, float] = setting("upper limits on costs, such as { latency_ms = 4.0 }", dict)
    candidates: int = setting(
        "draws for each trial, the first by the sampler; a model of quality takes the best of them; 1: no model",
        32,
        at_least=1,
    )
    schedule: str = setting(
        "what happens at [rungs]: freeze_thaw, a worker takes the new or paused trial that gives most for its price; "
        "halving, the best 1/factor go on",
        FREEZE_THAW,
        choices=SCHEDULES,
    )
    stop_when: float = setting(
        "under freeze_thaw: end when an hour of one worker is expected to add less than this to the hypervolume",
        0.0,
        at_least=0,
    )
    try_first: tuple[Mapping[str, Any], ...] = setting(
        "configurations to try before any other, as tables of axes; what a table leaves out is drawn", ()
    )
    prior: Mapping[str, Mapping[str, float]] = setting(
        "what is expected of axes, a table for each: weights of values such as { hs = 3 }, the others 1; of a range "
        "{ around = 1e-3, within = 3 }. It fades as trials come in",
        dict,
    )
    inherit: bool = setting(
        "whether a trial goes on from the best student of its shape that the search has trained, or of a deeper one of "
        "its width, where that is better than the start of its configuration",
        False,
    )
    warm_start: tuple[str, ...] = setting("folders of earlier studies of the same teacher and tasks to learn from", ())


@dataclass(frozen=True)
class ComparisonSpec:
    seeds: int | None = setting(
        "run every configuration of the space with this many seeds, each method at a learning rate chosen before, "
        "and score all on the test splits; unset: the study is a search",
        None,
        at_least=1,
    )
    tune_shape: str | None = setting("the student on which learning rates are chosen; unset: the first of each", None)


@dataclass(frozen=True)
class LoggingSpec:
    callbacks: tuple[str, ...] = setting("callbacks of Ray Tune: 'tensorboard', 'mlflow', or both", ())


@dataclass(frozen=True)
class StudySpec:
    """One study, as written in a TOML file."""

    name: str
    seed: int
    teacher: TeacherSpec
    embedding: EmbeddingSpec
    student: StudentSpec
    corpus: CorpusSpec
    budget: BudgetSpec
    rungs: RungsSpec
    training: TrainingSpec
    targets: TargetsSpec
    storage: StorageSpec
    space: dict[str, Any]
    tasks: tuple[TaskSpec, ...]
    evaluation: EvaluationSpec
    search: SearchSpec
    comparison: ComparisonSpec
    cluster: ClusterSpec
    latency: LatencySpec
    deploy: DeploySpec
    logging: LoggingSpec


SECTIONS: dict[str, type] = {
    "teacher": TeacherSpec,
    "embedding": EmbeddingSpec,
    "student": StudentSpec,
    "corpus": CorpusSpec,
    "budget": BudgetSpec,
    "rungs": RungsSpec,
    "training": TrainingSpec,
    "targets": TargetsSpec,
    "storage": StorageSpec,
    "evaluation": EvaluationSpec,
    "search": SearchSpec,
    "comparison": ComparisonSpec,
    "cluster": ClusterSpec,
    "latency": LatencySpec,
    "deploy": DeploySpec,
    "logging": LoggingSpec,
}
TOP_LEVEL = ("name", "seed", "space", "tasks", *SECTIONS)
