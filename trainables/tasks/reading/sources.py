"""The one door for tables: local files, the Hugging Face hub, or the docstrings of the installed packages."""

from collections.abc import Sequence
from typing import Any

from spaces.errors import SpecError
from trainables.tasks.reading.files import read_files
from trainables.tasks.reading.hub import read_hub
from trainables.tasks.reading.tables import TaskSource
from trainables.text.docs_tasks import docs_task
from trainables.text.splits import SPLIT_WORDS
from trainables.text.tables import Table


def read_tables(source: TaskSource, needed: Sequence[str] = ("train",)) -> dict[str, Table]:
    """The table of each split that the source has, and of what else is needed, by name.

    A split other than train whose labels are all -1 (hidden, as in GLUE's tests) counts as absent. Raises SpecError
    where one that is needed is absent.
    """
    others = [part for part in needed if part not in SPLIT_WORDS]
    if source.address.startswith("hub:"):
        tables = read_hub(source, others)
    elif source.address.startswith("docs:"):
        tables = read_docs(source)
    else:
        tables = read_files(source, others)
    label = source.columns.get("label")
    for split in [split for split in tables if split != "train"]:
        if label is not None and hidden(tables[split].columns.get(label.name, [])):
            del tables[split]
            source.say(f"task {source.task}: {split} is not used, all its labels are -1")
    if absent := [split for split in needed if split not in tables]:
        found = f"task {source.task!r}: {source.address!r} has no {' and no '.join(absent)} split, only "
        raise SpecError([found + ", ".join(tables)])
    return tables


def hidden(labels: Sequence[Any]) -> bool:
    """Whether every label, or every tag of every sentence, is -1."""
    flat = [tag for label in labels for tag in (label if isinstance(label, list) else [label])]
    return bool(flat) and all(str(tag) == "-1" for tag in flat)


def read_docs(source: TaskSource) -> dict[str, Table]:
    """A task made of the docstrings of the installed packages, under the column names of the source."""
    tables = {}
    for split, given in docs_task(source.address.removeprefix("docs:")).items():
        columns = {column.name: list(given[role]) for role, column in source.columns.items() if role in given}
        names = {source.columns["label"].name: tuple(given["label_names"])} if "label_names" in given else {}
        tables[split] = Table(columns, names)
    return tables
