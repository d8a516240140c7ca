"""The one door for tables: files here or in an object store, the Hugging Face hub, or docstrings of packages."""

from collections.abc import Sequence
from dataclasses import replace

from spaces.errors import SpecError
from trainables.tasks.reading.files import read_files
from trainables.tasks.reading.hub import read_hub
from trainables.tasks.reading.tables import TaskSource
from trainables.text.docs_tasks import docs_task
from trainables.text.splits import SPLIT_WORDS
from trainables.text.tables import Table


def read_tables(source: TaskSource, needed: Sequence[str] = ("train",)) -> dict[str, Table]:
    """The table of each split that the source has, and of what else is needed, by name.

    A split other than train whose labels are hidden counts as absent, as in tests of GLUE. Raises SpecError where one
    that is needed is absent.
    """
    others = [part for part in needed if part not in SPLIT_WORDS]
    said: list[str] = []
    tell, source = source.say, replace(source, say=said.append)
    if source.address.startswith("hub:"):
        tables = read_hub(source, others)
    elif source.address.startswith("docs:"):
        tables = read_docs(source)
    else:
        tables = read_files(source, others)
    label = source.columns.get("label")
    for split in [split for split in tables if split != "train"]:
        if label is not None and (why := hidden(tables[split], label.name, split)):
            del tables[split]
            source.say(f"task {source.task}: {split} is not used, {why}")
    if absent := [split for split in needed if split not in tables]:
        found = f"task {source.task!r}: {source.address!r} has no {' and no '.join(absent)} split, only "
        unused = "".join(f"; {line.removeprefix(f'task {source.task}: ')}" for line in said)
        raise SpecError([found + ", ".join(tables) + unused])
    for line in said:
        tell(line)
    return tables


def hidden(table: Table, label: str, split: str) -> str:
    """How a table keeps its labels back: all are -1, or, in a test, there are none; "" where it has some."""
    if label not in table.columns:
        return f"it has no column {label!r}" if split == "test" and label not in table.twice else ""
    flat = [tag for each in table.columns[label] for tag in (each if isinstance(each, list) else [each])]
    if flat and all(str(tag) == "-1" for tag in flat):
        return "all its labels are -1"
    empty = flat and all(tag is None or tag == "" for tag in flat)
    return "all its labels are empty" if empty and split == "test" else ""


def read_docs(source: TaskSource) -> dict[str, Table]:
    """A task made of the docstrings of the installed packages, under the column names of the source."""
    tables = {}
    for split, given in docs_task(source.address.removeprefix("docs:")).items():
        columns = {column.name: list(given[role]) for role, column in source.columns.items() if role in given}
        names = {source.columns["label"].name: tuple(given["label_names"])} if "label_names" in given else {}
        tables[split] = Table(columns, names)
    return tables
