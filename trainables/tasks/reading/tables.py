"""Where the rows of a task are, and which columns of them are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spaces.telling import quiet


@dataclass(frozen=True)
class Column:
    """A column that a kind of task reads: its usual name, and whether a table may lack it."""

    name: str
    required: bool = True


@dataclass(frozen=True)
class TaskSource:
    """Where the rows of a task are: the name of the task, the source as a spec writes it, and its columns by role.

    say: is told what is left out, in a line for people.
    """

    task: str
    address: str
    columns: Mapping[str, Column]
    say: Callable[[str], None] = quiet

    def place(self, split: str, role: str = "", row: int | None = None) -> str:
        """How a split, a column of it or a row is named in an error."""
        where = f"task {self.task!r}, {split} of {self.address!r}"
        return where + (f": column {self.columns[role].name!r}, row {row}" if role else "")
