"""Columns of Parquet files, each with its unit and meaning, and how a file that was written earlier is read by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from spaces.errors import StillhouseError

INT, FLOAT, TEXT = pa.int64(), pa.float64(), pa.string()


@dataclass(frozen=True)
class Column:
    """One Parquet column."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    since: int = 1
    """The format of studies (spaces/records/meta.py) that brought the column; where a part lacks it, it is null."""


def schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of these columns, with unit and meaning as field metadata."""
    return _schema(tuple(columns))


@lru_cache
def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    """It is asked for with every file of a study, and takes longer to make than to look up."""
    return pa.schema(
        [
            pa.field(column.name, column.type, metadata={"unit": column.unit, "meaning": column.meaning})
            for column in columns
        ]
    )


def conformed(table: pa.Table, columns: Sequence[Column], place: str) -> pa.Table:
    """A part as a table of exactly `columns`: what was added since it was written is null, other columns are left out.

    Raises StillhouseError, which names the place, for a column that is missing or of another type.
    """
    wanted = schema(columns)
    if table.schema.equals(wanted):
        return table
    mend = "read it with that version, or move it out of the study."
    known = set(table.column_names)
    if missing := [column.name for column in columns if column.name not in known and column.since == 1]:
        raise StillhouseError(
            f"{place} has no column {', '.join(map(repr, missing))}. It was written by another version of stillhouse "
            f"or for other tasks: {mend}"
        )
    arrays = []
    for field in wanted:
        array = table.column(field.name) if field.name in known else pa.nulls(len(table), field.type)
        if array.type != field.type and not pa.types.is_null(array.type):
            raise StillhouseError(
                f"{place}: column {field.name!r} must be of type {field.type}, got {array.type}. It was written by "
                f"another version of stillhouse: {mend}"
            )
        arrays.append(array.cast(field.type))
    return pa.table(arrays, schema=wanted)
