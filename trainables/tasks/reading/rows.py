"""From tables to checked rows: all columns there, every text a text, every label a class or a finite number.

All problems of a task are reported together, each with the first row that has it.
"""

import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np

from spaces.errors import SpecError, nearest
from trainables.tasks.data import Rows
from trainables.tasks.reading.sources import read_tables
from trainables.tasks.reading.tables import TaskSource
from trainables.text.ragged import one_each
from trainables.text.tables import Table, no_column

WHOLE = re.compile(r"-?(0|[1-9]\d*)")

ReadLabels = Callable[
    [TaskSource, Mapping[str, list], tuple[str, ...], list[str]], tuple[tuple[str, ...], dict[str, np.ndarray]]
]
"""(source, labels by split, stored class names, problems to add to) -> (class names, ids or targets by split)."""


def read_rows(
    source: TaskSource, read_labels: ReadLabels, needed: Sequence[str] = ("train",)
) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """(rows by split, class names) of tables with one label a row in the role `label` and texts in all others."""
    problems: list[str] = []
    tables = read_tables(source, needed)
    columns = columns_by_role(source, tables, problems)
    for split, by_role in columns.items():
        for role, values in by_role.items():
            if role != "label":
                check_texts(source, split, role, values, problems)
    names: tuple[str, ...] = ()
    labels: dict[str, np.ndarray] = {}
    if len(columns) == len(tables):
        stored = stored_names(source, tables)
        names, labels = read_labels(source, labels_by_split(source, tables, stored), stored, problems)
    if problems:
        raise SpecError(problems)
    inputs = {split: {role: by_role[role] for role in by_role if role != "label"} for split, by_role in columns.items()}
    return {split: Rows(inputs[split], one_each(labels[split])) for split in columns}, names


def columns_by_role(source: TaskSource, tables: Mapping[str, Table], problems: list[str]) -> dict[str, dict[str, list]]:
    """split -> role -> values, for the splits that have rows and all columns that they need."""
    found = {}
    for split, table in tables.items():
        named = {role: column.name for role, column in source.columns.items() if column.name in table.columns}
        absent = [column.name for role, column in source.columns.items() if column.required and role not in named]
        for name in absent:
            problems.append(f"{source.place(split)} has {no_column(name, table.columns, name in table.twice)}")
        columns = {role: table.columns[name] for role, name in named.items()}
        if not absent and not any(columns.values()):
            problems.append(f"{source.place(split)} is empty")
        elif not absent:
            found[split] = columns
    return found


def stored_names(source: TaskSource, tables: Mapping[str, Table]) -> tuple[str, ...]:
    """The class names that the metadata of the first table with such has for the labels."""
    label = source.columns["label"].name
    return next((table.class_names[label] for table in tables.values() if table.class_names.get(label)), ())


def labels_by_split(source: TaskSource, tables: Mapping[str, Table], names: tuple[str, ...]) -> dict[str, list]:
    """The labels of each table, or lists of them: ids as the names that they have in the metadata of their own table.

    names: those of tables that have none of their own. Without any, labels that are whole numbers in all tables, or
    texts of such, become numbers; files of text know no others.
    """
    label = source.columns["label"].name
    raw = {split: table.columns[label] for split, table in tables.items()}
    if not names:
        whole = all(is_whole(each) for column in raw.values() for each in flat(column))
        return {split: replaced(column, int) for split, column in raw.items()} if whole else raw

    def named(column: list, own: tuple[str, ...]) -> list:
        return replaced(column, lambda each: own[each] if isinstance(each, int) and 0 <= each < len(own) else each)

    return {split: named(column, tables[split].class_names.get(label) or names) for split, column in raw.items()}


def flat(column: Sequence[Any]) -> Iterator[Any]:
    """The values of a column, or of the lists in it."""
    for value in column:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def replaced(column: Sequence[Any], change: Callable[[Any], Any]) -> list:
    """The column with each value changed, or each value of the lists in it."""
    return [[change(each) for each in value] if isinstance(value, list) else change(value) for value in column]


def is_whole(label: Any) -> bool:
    """Whether this is a whole number, or a text that is one."""
    if isinstance(label, str):
        return WHOLE.fullmatch(label) is not None
    number = finite(label)
    return isinstance(label, Number) and number is not None and number.is_integer()


def check_texts(source: TaskSource, split: str, role: str, values: Sequence[Any], problems: list[str]) -> None:
    """Every value must be a text; the first that is not becomes a problem. How many are empty is said."""
    for row, text in enumerate(values):
        if not isinstance(text, str):
            problems.append(f"{source.place(split, role, row)} is {text!r}, not a text")
            return
    if empty := sum(not text or text.isspace() for text in values):
        name = source.columns[role].name
        source.say(f"task {source.task}: {empty:,} of {len(values):,} texts of {split} are empty (column {name!r})")


def targets(
    source: TaskSource, labels: Mapping[str, list], names: tuple[str, ...], problems: list[str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Finite targets by split, float32 where that keeps them apart, else float64; they have no names."""
    found = {}
    for split, column in labels.items():
        numbers = [finite(label) for label in column]
        if None in numbers:
            row = numbers.index(None)
            problems.append(f"{source.place(split, 'label', row)} is {column[row]!r}, not a finite number")
        else:
            exact, single = np.array(numbers), np.array(numbers, dtype=np.float32)
            found[split] = single if len(np.unique(single)) == len(np.unique(exact)) else exact
    return (), found


def finite(value: Any) -> float | None:
    """A number, or a text that is one; None for what is not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def class_ids(
    source: TaskSource, labels: Mapping[str, list], names: tuple[str, ...], problems: list[str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """(class names, ids by split): the classes are those of train, or of all splits where there is no train."""
    number, rule = numbering(labels.get("train") or [each for column in labels.values() for each in column], names)
    ids: dict[str, np.ndarray] = {}
    if len(number) < 2:
        split = "train" if "train" in labels else next(iter(labels))
        strange = next((row for row, label in enumerate(labels[split]) if not may_be_class(label)), None)
        if strange is not None:
            place = source.place(split, "label", strange)
            problems.append(f"{place} is {labels[split][strange]!r}, not a class: a text or a whole number")
            return names, ids
        problems.append(f"{source.place(split)} has one class only ({', '.join(map(str, number)) or 'none'})")
        return names, ids
    for split, column in labels.items():
        strange = next((row for row, label in enumerate(column) if not is_known(label, number)), None)
        if strange is None:
            ids[split] = np.array([number[label] for label in column], dtype=np.int64)
        else:
            near = nearest(column[strange], [name for name in number if isinstance(name, str)])
            problems.append(
                f"{source.place(split, 'label', strange)} is {column[strange]!r}, not {rule}{'.' * bool(near)}{near}"
            )
    return tuple(map(str, number)), ids


def numbering(labels: Sequence[Any], names: tuple[str, ...]) -> tuple[dict[Any, int], str]:
    """(label -> its id, the rule in words). Stored names keep their order; other classes are the labels, sorted."""
    classes: Sequence[Any] = names
    if not names:
        texts = sorted({label for label in labels if isinstance(label, str) and label})
        classes = texts or sorted({int(label) for label in labels if is_whole(label)})
    number = {label: i for i, label in enumerate(classes)}
    dense = number and list(number) == list(range(len(number)))
    return number, f"a class id from 0 to {len(number) - 1}" if dense else f"one of {', '.join(map(str, number))}"


def may_be_class(label: Any) -> bool:
    return (isinstance(label, str) and label != "") or is_whole(label)


def is_known(label: Any, number: Mapping[Any, int]) -> bool:
    return isinstance(label, Hashable) and label in number
