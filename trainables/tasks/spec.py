"""The settings of one labelled task, as a spec writes them under [[tasks]]."""

from dataclasses import dataclass

from spaces.errors import nearest
from spaces.settings import setting
from trainables.tasks.metrics import KIND_METRICS


@dataclass(frozen=True)
class TaskSpec:
    """One labelled task of a study: where its rows are and how they are read, cut and scored."""

    name: str = setting("short name; becomes score_<name>")
    source: str = setting(
        "folder or file stem with train/dev/test, hub:glue/sst2, or docs:package; {language}: each of languages"
    )
    kind: str = setting("what is predicted; token_classification: a tag for each word", choices=tuple(KIND_METRICS))
    language: str | None = setting("code of the language of the task, for scores by language", None)
    languages: tuple[str, ...] | None = setting(
        "makes this one task for each code, named name_code, with {language} in source replaced", None
    )
    max_train: int | None = setting("use at most this many training examples", None, at_least=2)
    max_dev: int | None = setting("use at most this many development examples", None, at_least=2)
    max_test: int | None = setting("use at most this many test examples", None, at_least=2)
    text_column: str = setting(
        "column of the text; unset: text, or tokens (lists of words) for token_classification", ""
    )
    text2_column: str = setting("column of the second text of a pair", "text2")
    label_column: str = setting("column of the label, the target, or the list of tags", "label")
    max_length: int = setting("tokens kept of an example", 128, at_least=4)
    metric: str | None = setting(
        "accuracy, f1, matthews, spearman, entity_f1 (tags O, B-X, I-X); unset: accuracy; spearman for regression",
        None,
    )

    def __post_init__(self) -> None:
        if not self.text_column:
            object.__setattr__(self, "text_column", "tokens" if self.kind == "token_classification" else "text")


def task_problems(task: TaskSpec) -> list[str]:
    """What is wrong with the settings of a task taken together: the metric must be one of the kind's."""
    known = list(dict.fromkeys(name for names in KIND_METRICS.values() for name in names))
    fitting = KIND_METRICS.get(task.kind, known)
    if task.metric is None or task.metric in fitting:
        return []
    if task.metric in known:
        return [f"metric {task.metric!r} does not fit the kind {task.kind!r}, which has {', '.join(fitting)}"]
    return [f"metric: unknown {task.metric!r}.{nearest(task.metric, known)} Known: {', '.join(known)}"]
