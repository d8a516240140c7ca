"""The settings of one labelled task, as a spec writes them under [[tasks]], and of how all are scored, [evaluation]."""

from dataclasses import dataclass, replace

from spaces.errors import SpecError, nearest
from spaces.settings import PRECISIONS, setting
from trainables.tasks.kind import LAYERS, Recipe
from trainables.tasks.kinds import KINDS
from trainables.tasks.reading.tables import TaskSource


@dataclass(frozen=True)
class TaskSpec:
    """One labelled task of a study: where its rows are and how they are read, cut and scored.

    Columns that are not set are called as the kind of task has them.
    """

    name: str = setting("short name; becomes score_<name>")
    source: str = setting(
        "folder or file stem with train/dev/test, here or by a URI (s3://bucket/folder, gs://), hub:glue/sst2, "
        "hub:owner/name@revision, or docs:package; {language}: each of languages"
    )
    kind: str = setting("what is predicted", choices=KINDS)
    weight: float = setting("how much the task counts in quality, beside the 1 of other tasks", 1.0, above=0)
    language: str | None = setting("code of the language of the task, for scores by language", None)
    languages: tuple[str, ...] | None = setting(
        "makes this one task for each code, named name_code, with {language} in source replaced", None
    )
    max_train: int | None = setting("use at most this many training examples", None, at_least=2)
    max_dev: int | None = setting("use at most this many development examples", None, at_least=2)
    max_test: int | None = setting("use at most this many test examples", None, at_least=2)
    max_docs: int | None = setting(
        "search in at most this many documents; those that answer queries are always among them", 10_000, at_least=2
    )
    text_column: str | None = setting("column of the text, or of lists of words; unset: as the kind calls it", None)
    text2_column: str | None = setting("column of the second text of a pair; unset: as the kind calls it", None)
    label_column: str | None = setting(
        "column of the class, the target, or the list of tags; unset: as the kind calls it", None
    )
    max_length: int = setting("tokens kept of an example", 128, at_least=4)
    metric: str | None = setting("how predictions become a score; unset: the first metric of the kind", None)
    positive_class: str | None = setting(
        "the class that f1 is of, in a task of two classes; unset: the second, as they are stored or sorted",
        None,
    )

    def __post_init__(self) -> None:
        """Settle the columns, so that a resolved spec has them."""
        columns = KINDS[self.kind].columns if self.kind in KINDS else {}
        for role in ("text", "text2", "label"):
            if getattr(self, f"{role}_column") is None:
                name = columns[role].name if role in columns else role
                object.__setattr__(self, f"{role}_column", name)

    def rows(self) -> TaskSource:
        """Where its rows are; the kind must be known."""
        columns = {
            role: replace(column, name=getattr(self, f"{role}_column", column.name))
            for role, column in KINDS[self.kind].columns.items()
        }
        return TaskSource(self.name, self.source, columns)


FINETUNE = "finetune"
"""The protocol that trains the whole student."""
CLASSIFIER = "classifier"
"""The protocol that asks the classification head that a student has from its teacher."""


@dataclass(frozen=True)
class EvaluationSpec:
    """How the students of a study are scored."""

    protocol: str = setting(
        "how a student is scored: zero_shot, probe, finetune, or classifier, by the head that it has of a teacher "
        "that classifies texts; kinds of tasks without it are scored by their first",
        "probe",
    )
    layer: str = setting(
        "any: a probe reads the layer that serves best; last: only what the exported student gives",
        "any",
        choices=LAYERS,
    )
    precision: str = setting(
        "arithmetic of the forward passes of a probe; auto: bf16 where the processor multiplies it",
        "auto",
        choices=PRECISIONS,
    )
    documents: str = setting(
        "who embeds the documents of a search: the student, or the teacher once, so that students serve the queries of "
        "an index that exists already",
        "student",
        choices=("student", "teacher"),
    )
    floor_seeds: int = setting("untrained encoders whose mean score is the floor", 3, at_least=1)
    starts: bool = setting(
        "score students before their first step as well: starts are students of the search like any other, and a trial "
        "keeps the best of its start, its rungs and its end by dev quality; no comparison does",
        True,
    )
    finetune_epochs: int | None = setting(
        "fine-tuning: passes over train; unset: 3, or as many as 600 steps take, at most 30", None, at_least=1
    )
    finetune_learning_rates: tuple[float, ...] = setting(
        "fine-tuning: peak rates to try, of which the best on a held-out tenth of train is taken; unset: 0.06 / width",
        (),
    )
    finetune_batch_size: int = setting("fine-tuning: examples of a step", 16, at_least=1)
    finetune_seeds: int = setting("fine-tuning: runs whose mean score counts", 1, at_least=1)

    @property
    def recipe(self) -> Recipe:
        """How fine-tuning goes."""
        return Recipe(self.finetune_epochs, self.finetune_learning_rates, self.finetune_batch_size, self.finetune_seeds)

    def at_rungs(self) -> "EvaluationSpec":
        """How students are scored while they train: fine-tuning would take too long."""
        return replace(self, protocol="probe") if self.protocol == FINETUNE else self


def task_problems(task: TaskSpec) -> list[str]:
    """What is wrong with the settings of a task taken together: the metric must be one of the kind's."""
    kinds = [task.kind] if task.kind in KINDS else list(KINDS)
    fitting = list(dict.fromkeys(metric.name for kind in kinds for metric in KINDS[kind].metrics))
    if task.metric is None or task.metric in fitting:
        return []
    hint, known = nearest(task.metric, fitting), ", ".join(fitting)
    return [f"metric: unknown {task.metric!r}.{hint} Known for the kind {task.kind!r}: {known}"]


def protocol_for(kind: str, asked: str) -> str:
    """The protocol by which tasks of a kind are scored in a study that asks for one: that, or the kind's first.

    Raises SpecError for a protocol that no kind has.
    """
    own = KINDS[kind].protocols
    if asked in own:
        return asked
    if problem := protocol_problem(asked):
        raise SpecError([problem])
    return next(iter(own))


def protocol_problem(asked: str) -> str | None:
    """What is wrong with the protocol of a study, if anything: some kind must have it."""
    known = list(dict.fromkeys(name for kind in KINDS.values() for name in kind.protocols))
    return None if asked in known else f"unknown protocol {asked!r}.{nearest(asked, known)} Known: {', '.join(known)}"
