"""What a source of a task gives: tables of columns, called by the names that the source has for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid"), "test": ("test",)}
"""How the splits of a task are called in files and data sets."""


@dataclass(frozen=True)
class Column:
    """A column that a kind of task reads: its usual name, and whether a table may lack it."""

    name: str
    required: bool = True


@dataclass(frozen=True)
class TaskSource:
    """Where the rows of a task are: the name of the task, the source as a spec writes it, and its columns by role."""

    task: str
    address: str
    columns: Mapping[str, Column]

    def place(self, split: str, role: str = "", row: int | None = None) -> str:
        """How a split, a column of it or a row is named in an error."""
        where = f"task {self.task!r}, {split} of {self.address!r}"
        return where + (f": column {self.columns[role].name!r}, row {row}" if role else "")


@dataclass(frozen=True)
class Table:
    """The columns of one split, and the class names of those that have such, from the metadata of the source."""

    columns: Mapping[str, list]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
