"""The one door for tables: local files, the Hugging Face hub, or the docstrings of the installed packages."""

from collections.abc import Sequence

from spaces.errors import SpecError
from trainables.tasks.reading.files import read_files
from trainables.tasks.reading.hub import read_hub
from trainables.tasks.reading.tables import Table, TaskSource


def read_tables(source: TaskSource, needed: Sequence[str] = ("train",)) -> dict[str, Table]:
    """The table of each split that the source has, of train, dev and test; SpecError where one that is needed lacks."""
    if source.address.startswith("hub:"):
        tables = read_hub(source)
    elif source.address.startswith("docs:"):
        tables = read_docs(source)
    else:
        tables = read_files(source)
    if absent := [split for split in needed if split not in tables]:
        found = f"task {source.task!r}: {source.address!r} has no {' and no '.join(absent)} split, only "
        raise SpecError([found + ", ".join(tables)])
    return tables


def read_docs(source: TaskSource) -> dict[str, Table]:
    """A task made of the docstrings of the installed packages, under the column names of the source."""
    from trainables.text.docstrings import docs_task

    tables = {}
    for split, given in docs_task(source.address.removeprefix("docs:")).items():
        columns = {column.name: list(given[role]) for role, column in source.columns.items() if role in given}
        names = {source.columns["label"].name: tuple(given["label_names"])} if "label_names" in given else {}
        tables[split] = Table(columns, names)
    return tables
