"""From tables to checked rows: all columns there, every text a text, every label a class or a finite number.

All problems of a task are reported together, each with the first row that has it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spaces.errors import SpecError
from trainables.tasks.data import Rows
from trainables.tasks.ragged import one_each
from trainables.tasks.reading.sources import read_tables
from trainables.tasks.reading.tables import Table, TaskSource

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
        raw = {split: by_role.pop("label") for split, by_role in columns.items()}
        names, labels = read_labels(source, raw, stored_names(source, tables), problems)
    if problems:
        raise SpecError(problems)
    return {split: Rows(by_role, one_each(labels[split])) for split, by_role in columns.items()}, names


def columns_by_role(source: TaskSource, tables: Mapping[str, Table], problems: list[str]) -> dict[str, dict[str, list]]:
    """split -> role -> values, for the splits that have rows and all columns that they need."""
    found = {}
    for split, table in tables.items():
        named = {role: column.name for role, column in source.columns.items() if column.name in table.columns}
        absent = [column.name for role, column in source.columns.items() if column.required and role not in named]
        for name in absent:
            problems.append(f"{source.place(split)} has no column {name!r}, only {', '.join(sorted(table.columns))}")
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


def check_texts(source: TaskSource, split: str, role: str, values: Sequence[Any], problems: list[str]) -> None:
    """Every value must be a text; the first that is not becomes a problem."""
    for row, text in enumerate(values):
        if not isinstance(text, str):
            problems.append(f"{source.place(split, role, row)} is {text!r}, not a text")
            return


def targets(
    source: TaskSource, labels: Mapping[str, list], names: tuple[str, ...], problems: list[str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Finite float32 targets by split; they have no names."""
    found = {}
    for split, column in labels.items():
        strange = next((row for row, label in enumerate(column) if not is_finite(label)), None)
        if strange is None:
            found[split] = np.asarray(column, dtype=np.float32)
        else:
            where = source.place(split, "label", strange)
            problems.append(f"{where} is {column[strange]!r}, not a finite number")
    return (), found


def is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def class_ids(
    source: TaskSource, labels: Mapping[str, list], names: tuple[str, ...], problems: list[str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """(class names, ids by split). Labels are ids of the known names, or names themselves.

    Where none are stored, the names are those of train, sorted, or the ids; without a train split those of all splits.
    """
    known = labels.get("train") or [label for column in labels.values() for label in column]
    if any(isinstance(label, str) for label in known):
        names = names or tuple(sorted({str(label) for label in known}))
        number: dict[Any, int] = {name: i for i, name in enumerate(names)}
        rule = f"one of {', '.join(names)}"
    else:
        whole = [int(label) for label in known if isinstance(label, int | float) and float(label).is_integer()]
        names = names or tuple(str(i) for i in range(max(whole, default=-1) + 1))
        number = {i: i for i in range(len(names))}
        rule = f"a class id from 0 to {len(names) - 1}"
    ids = {}
    for split, column in labels.items():
        strange = next((row for row, label in enumerate(column) if label not in number), None)
        if strange is None:
            ids[split] = np.array([number[label] for label in column], dtype=np.int64)
        else:
            problems.append(f"{source.place(split, 'label', strange)} is {column[strange]!r}, not {rule}")
    return names, ids
