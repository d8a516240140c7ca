"""The kinds of labelled tasks, one file each."""

from spaces.registry import Registry
from trainables.tasks.kind import TaskKind

KINDS: Registry[TaskKind] = Registry(
    TaskKind,
    "stillhouse.tasks",
    {
        name: f"trainables.tasks.kinds.{name}:KIND"
        for name in (
            "classification",
            "pair_classification",
            "regression",
            "token_classification",
            "sts",
            "retrieval",
            "reranking",
            "clustering",
        )
    },
)
