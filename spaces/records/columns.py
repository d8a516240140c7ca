"""The columns of a study folder's datasets.

Every column carries its unit and meaning in the file itself (Arrow field metadata), so a study folder explains itself
to any reader. An axis that a configuration does not have (a mapping without `hs`) is null.
"""

from collections.abc import Iterable, Sequence

from spaces.errors import StillhouseError
from spaces.records.costs import DISK, LATENCY, PEAK_MEMORY
from spaces.records.rows import TIME, columns_of_rows
from spaces.records.schemas import FLOAT, INT, TEXT, Column
from spaces.students.axis import Axis

DATASETS = ("asked", "trials", "reports", "decisions", "test_scores", "baselines", "profiles")
"""The folders of a study that hold Parquet parts."""


AXIS_COLUMNS = (
    Column("method", TEXT, "", "transfer method, a weighted sum of methods, or stages"),
    Column("mapping", TEXT, "", "layer mapping of hidden-state transfer"),
    Column("relation_heads", INT, "heads", "relation heads of MHA transfer"),
    Column("teacher_layer", INT, "layer", "teacher layer that attention is transferred from, counted from 1"),
    Column("temperature", FLOAT, "", "softmax temperature of output-distribution transfer"),
    Column("num_layers", INT, "layers", "Transformer layers of the student"),
    Column("hidden_size", INT, "units", "width of the student"),
    Column("num_heads", INT, "heads", "attention heads of the student"),
    Column("intermediate_size", INT, "units", "feed-forward width of the student"),
    Column("initialisation", TEXT, "", "how the student's weights started"),
    Column("learning_rate", FLOAT, "", "peak learning rate"),
    Column("batch_size", INT, "sequences", "sequences per optimiser step"),
)
"""What a trial was, its seed aside, in every study; a study may have more (StudyMeta.axes)."""
CONFIG_COLUMNS = tuple(column.name for column in AXIS_COLUMNS)


def trials_columns(
    task_names: Sequence[str], by_language: bool = False, axes: Sequence[Column] = ()
) -> tuple[Column, ...]:
    """Those of TrialRow, one row per trial that ended. Three columns per task.

    by_language: two more columns, for a study some of whose tasks name their language.
    axes: the columns of `axis_columns`, for a study with axes that not every study has.
    """
    return columns_of_rows(task_names, (*AXIS_COLUMNS, *axes), by_language)


def axis_columns(axes: Iterable[Axis]) -> tuple[Column, ...]:
    """The columns of axes that not every study has. Raises StillhouseError for an axis named like another column."""
    own, known = [axis for axis in axes if axis.name not in CONFIG_COLUMNS], {c.name for c in trials_columns(())}
    if taken := [axis.name for axis in own if axis.name in known]:
        raise StillhouseError(f"axes cannot be named like columns of the trials table: {', '.join(taken)}")
    types = {str: TEXT, int: INT, float: FLOAT}
    return tuple(Column(axis.name, types[axis.kind], axis.unit, axis.meaning) for axis in own)


def reports_columns() -> tuple[Column, ...]:
    """What a trial says while it trains."""
    return (
        Column("trial", INT, "number", "number of the trial"),
        Column("step", INT, "steps", "optimiser steps so far"),
        Column("train_tokens", INT, "tokens", "tokens trained on so far"),
        Column("loss", FLOAT, "", "training loss since the last report; scales differ between methods"),
        Column("learning_rate", FLOAT, "", "learning rate at this step"),
        Column("gradient_norm", FLOAT, "", "gradient norm before clipping"),
        Column("tokens_per_s", FLOAT, "tokens/s", "training speed since the last report"),
        Column("elapsed_s", FLOAT, "s", "wall-clock time since the trial started"),
        Column("quality", FLOAT, "share", "quality by the probe, at a rung; null between rungs"),
    )


def asked_columns() -> tuple[Column, ...]:
    """What the sampler asked for, written before the trial starts."""
    return (
        Column("trial", INT, "number", "number of the trial"),
        Column("config_hash", TEXT, "", "hash of configuration and seed"),
        Column("config", TEXT, "JSON", "the canonical configuration"),
        Column("seed", INT, "", "seed of the trial"),
        Column("asked_at", TIME, "UTC", "when the sampler asked for it"),
        Column("search_s", FLOAT, "s", "seconds of searching by then, over all runs of the study", since=2),
        Column("trials_s", FLOAT, "s", "seconds that trials had run by then, all of them together", since=2),
        Column("parent", INT, "number", "finished trial from whose student it may go on; null: none", since=2),
    )


def decisions_columns() -> tuple[Column, ...]:
    """What was decided about trials under the schedule freeze_thaw, written before it was done."""
    return (
        Column("trial", INT, "number", "number of the trial"),
        Column("decision", INT, "number", "number of the decision, in the order of the study"),
        Column("action", TEXT, "", "try (a new one), go_on (past a rung), pause, thaw (go on after it), end"),
        Column("rung", INT, "number", "rungs that the trial had passed, from 0"),
        Column("gain", FLOAT, "", "hypervolume that its whole budget was expected to add; null: too little was known"),
        Column("left", FLOAT, "share", "of its budget, what it had not trained"),
        Column("price", FLOAT, "trials", "of what was left of it, in trials of mean size; gain per price decides"),
        Column("rival", INT, "number", "the trial that came second, or that a pause makes room for; null: a new one"),
        Column("rival_config", TEXT, "JSON", "configuration of that rival; null: there was none"),
        Column("rival_gain", FLOAT, "", "hypervolume that the rival's whole budget was expected to add"),
        Column("rival_price", FLOAT, "trials", "price of what was left of the rival"),
        Column("compared", INT, "options", "configurations and paused trials that were compared"),
        Column("search_s", FLOAT, "s", "seconds of searching so far, over all runs of the study"),
        Column("trials_s", FLOAT, "s", "seconds that trials have run so far, all of them together", since=2),
        Column("decided_at", TIME, "UTC", "when it was decided"),
    )


def test_scores_columns() -> tuple[Column, ...]:
    """Scores on the test splits, touched once, for the report of the front."""
    return (
        Column("trial", INT, "number", "number of the trial; -1 the teacher, -2 the floor"),
        Column("task", TEXT, "", "name of the task"),
        Column("protocol", TEXT, "", "how the student was scored: zero_shot, probe or finetune"),
        Column("score", FLOAT, "the task's metric", "raw test score"),
        Column("recovered", FLOAT, "share", "(score - floor) / (teacher - floor) on the test split"),
        Column("layer", INT, "layer", "layer the probe chose; 0 = embeddings"),
        Column("metric", TEXT, "", "name of the metric"),
    )


def baselines_columns() -> tuple[Column, ...]:
    """What a student's shape scores without distillation: the teacher cut down to it."""
    return (
        Column("kept", TEXT, "", "which of the teacher's layers are kept: first, or uniform"),
        Column("num_layers", INT, "layers", "Transformer layers that are kept"),
        Column("hidden_size", INT, "units", "width; below the teacher's its states are projected"),
        Column("num_heads", INT, "heads", "attention heads"),
        Column("intermediate_size", INT, "units", "feed-forward width"),
        Column("task", TEXT, "", "name of the task"),
        Column("split", TEXT, "", "dev or test"),
        Column("protocol", TEXT, "", "how it was scored: zero_shot, probe or finetune"),
        Column("score", FLOAT, "the task's metric", "raw score"),
        Column("recovered", FLOAT, "share", "(score - floor) / (teacher - floor)"),
        Column("metric", TEXT, "", "name of the metric"),
    )


PROFILED = (LATENCY, PEAK_MEMORY, DISK)
"""The costs that `stillhouse profile` measures again."""


def profiles_columns() -> tuple[Column, ...]:
    """Costs of students measured again, on another device or with another runtime."""
    return (
        Column("profile", TEXT, "", "name of the setting and the machine, the same for all rows of one measurement"),
        Column("trial", INT, "number", "number of the trial; -1 the teacher"),
        Column("device", TEXT, "", "cpu or cuda"),
        Column("runtime", TEXT, "", "torch, onnx or openvino"),
        Column("precision", TEXT, "", "of the file that was run; fp32 under torch", since=2),
        Column("threads", INT, "threads", "CPU threads of the forward pass"),
        Column("batch_size", INT, "texts", "texts at a time"),
        Column("sequence_length", INT, "tokens", "tokens of each text"),
        Column("lengths", TEXT, "", "tasks: texts were as long as those of the study's tasks instead", since=2),
        *LATENCY.columns,
        *(
            Column(f"latency_{which}_{end}_ms", FLOAT, "ms", f"{end} end of the 95 % interval of {which}", since=2)
            for which in ("p50", "p95")
            for end in ("low", "high")
        ),
        Column("runs", INT, "passes", "forward passes that were timed"),
        *PEAK_MEMORY.columns,
        *DISK.columns,
        Column("hardware", TEXT, "", "the machine in words"),
        Column("fingerprint", TEXT, "", "hash of the machine and of the versions of the runtime"),
        Column("versions", TEXT, "JSON", "versions of the packages that matter"),
        Column("measured_at", TIME, "UTC", "when it was measured"),
    )


def dataset_columns(
    tasks: Sequence[str], by_language: bool = False, axes: Sequence[Column] = ()
) -> dict[str, tuple[Column, ...]]:
    """The columns of every dataset of a study, by its name in DATASETS."""
    return {
        "asked": asked_columns(),
        "trials": trials_columns(tasks, by_language, axes),
        "reports": reports_columns(),
        "decisions": decisions_columns(),
        "test_scores": test_scores_columns(),
        "baselines": baselines_columns(),
        "profiles": profiles_columns(),
    }
