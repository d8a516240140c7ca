"""The sections of a spec: every key with its type, default, rules and meaning.

What stands beside each field here is what `stillhouse check --explain` prints; tables.py reads by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaces.settings import setting
from trainables.tasks.spec import TaskSpec

SAMPLERS = ("tpe", "nsga2", "gp", "random", "grid")
TRACKERS = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}
"""Callbacks of Ray Tune that may be switched on, and the package that each needs; also the names of the extras."""


@dataclass(frozen=True)
class TeacherSection:
    path: str = setting("model folder, hub id, or package:module/path")


@dataclass(frozen=True)
class CorpusSection:
    source: str = setting("'docs', a file or folder of text, or hub:name")
    text_column: str = setting("the column that holds the text", "text")
    subset: str | None = setting("the configuration of a hub data set", None)
    sequence_length: int = setting("tokens per block", 128, at_least=8)
    max_tokens: int | None = setting("use no more than this many tokens of the corpus", None, at_least=1)
    language_temperature: float | None = setting(
        "sample the languages, one folder of source each, by size^(1/T), so that small ones are not drowned; 3.3 is "
        "XLM-R's, 1 keeps the proportions; unset: all text as it is",
        None,
        above=0,
    )


@dataclass(frozen=True)
class BudgetSection:
    trials: int = setting("trials to run; duplicates and infeasible draws do not count", 20, at_least=1)
    train_tokens: int = setting("tokens every trial trains on", 1_000_000, at_least=1)


@dataclass(frozen=True)
class RungsSection:
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
class TrainingSection:
    weight_decay: float = setting("AdamW weight decay", 0.01, at_least=0)
    warmup_fraction: float = setting("share of the steps with rising learning rate", 0.1, at_least=0, below=1)
    gradient_clip: float = setting("gradient norm is cut to this", 1.0, above=0)
    mask_fraction: float = setting("share of tokens masked for od and mlm", 0.15, above=0, below=1)
    precision: str = setting("arithmetic of the training steps", "auto", choices=("auto", "fp32", "bf16"))
    mask_views: int = setting("masks of one block; epochs take turns at them", 4, at_least=1)
    gradient_accumulation: int = setting("micro-batches per step", 1, at_least=1)
    teacher_precision: str = setting(
        "arithmetic of the teacher's forward pass", "auto", choices=("auto", "fp32", "bf16")
    )
    start: str | None = setting("folder of a student whose weights every trial starts from", None)
    checkpoint_every_s: float = setting("seconds between two checkpoints of a running trial", 60.0, above=0)


@dataclass(frozen=True)
class TargetsSection:
    mode: str = setting(
        "write the teacher's states down once or run it live in each trial", "auto", choices=("auto", "cache", "live")
    )
    dtype: str = setting("how the states are kept", "float16", choices=("float16", "bfloat16", "int8"))
    quota_gb: float = setting("disk that the target caches of all studies may take, in GB", 20.0, above=0)


@dataclass(frozen=True)
class StorageSection:
    quota_gb: float = setting(
        "disk that students and checkpoints of the study may take, in GB; the most beaten give way first, what `best` "
        "and `export` can still pick never does",
        20.0,
        above=0,
    )


@dataclass(frozen=True)
class EvaluationSection:
    protocol: str = setting("how a student is scored", "probe", choices=("probe", "finetune"))
    floor_seeds: int = setting("untrained encoders whose mean score is the floor", 3, at_least=1)


@dataclass(frozen=True)
class SearchSection:
    sampler: str = setting("how configurations are chosen", "tpe", choices=SAMPLERS)
    objectives: tuple[str, ...] = setting(
        "what is optimised; quality and at least one cost, and worst_language_quality where tasks have languages",
        ("quality", "parameters"),
    )
    constraints: Mapping[str, float] = setting("upper limits on costs, such as { latency_ms = 4.0 }", dict)
    candidates: int = setting(
        "draws for each trial, the first by the sampler, of which a model takes the most promising; 1: no model",
        32,
        at_least=1,
    )
    warm_start: tuple[str, ...] = setting("folders of earlier studies of the same teacher and tasks to learn from", ())


@dataclass(frozen=True)
class ComparisonSection:
    seeds: int | None = setting(
        "run every configuration of the space with so many seeds, each method at a learning rate chosen for it first, "
        "and score all on the test splits; unset: the study is a search",
        None,
        at_least=1,
    )
    tune_shape: str | None = setting("the student on which learning rates are chosen; unset: the first of each", None)


@dataclass(frozen=True)
class ClusterSection:
    concurrent_trials: int | None = setting("trials at the same time; unset: as many as fit", None, at_least=1)
    workers_per_trial: int = setting("data-parallel workers of one trial", 1, at_least=1)
    cpus_per_worker: int = setting("CPUs (and threads) of one worker", 1, at_least=1)
    gpus_per_worker: float = setting("GPUs of one worker", 0.0, at_least=0)
    hang_after_s: float = setting(
        "a trial that has reported nothing for so many seconds is started again, once; 0: never. Trials report twenty "
        "times, and are scored in silence: allow for more than a twentieth of the longest",
        21_600.0,
        at_least=0,
    )


@dataclass(frozen=True)
class LatencySection:
    device: str = setting("where latency is measured", "cpu", choices=("cpu", "cuda"))
    threads: int = setting("threads of the measurement", 1, at_least=1)
    batch_size: int = setting("texts at a time", 1, at_least=1)
    sequence_length: int = setting("tokens of each text", 128, at_least=1)


@dataclass(frozen=True)
class LoggingSection:
    callbacks: tuple[str, ...] = setting("callbacks of Ray Tune: 'tensorboard', 'mlflow', or both", ())


@dataclass(frozen=True)
class StudySpec:
    """One study, as written in a TOML file."""

    name: str
    seed: int
    teacher: TeacherSection
    corpus: CorpusSection
    budget: BudgetSection
    rungs: RungsSection
    training: TrainingSection
    targets: TargetsSection
    storage: StorageSection
    space: dict[str, Any]
    tasks: tuple[TaskSpec, ...]
    evaluation: EvaluationSection
    search: SearchSection
    comparison: ComparisonSection
    cluster: ClusterSection
    latency: LatencySection
    logging: LoggingSection


SECTIONS: dict[str, type] = {
    "teacher": TeacherSection,
    "corpus": CorpusSection,
    "budget": BudgetSection,
    "rungs": RungsSection,
    "training": TrainingSection,
    "targets": TargetsSection,
    "storage": StorageSection,
    "evaluation": EvaluationSection,
    "search": SearchSection,
    "comparison": ComparisonSection,
    "cluster": ClusterSection,
    "latency": LatencySection,
    "logging": LoggingSection,
}
TOP_LEVEL = ("name", "seed", "space", "tasks", *SECTIONS)
