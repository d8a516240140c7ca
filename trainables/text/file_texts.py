"""The texts in one file of a corpus, whatever its format."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spaces.errors import SpecError
from trainables.text.tables import json_rows, no_column, read_table
from trainables.text.text_files import format_of, lines_of

STRINGS = (pa.string(), pa.large_string(), pa.string_view())


def file_texts(path: Path, column: str, *part: int) -> Iterator[str]:
    """The non-empty texts of one file, in its order. Raises SpecError with the line or row where there is none.

    part: begin and end of what is read, where that is not all: bytes at which lines begin, or groups of rows; only in
    files that fragments.py takes apart.
    """
    try:
        yield from (text for text in TEXTS[format_of(path)[1]](path, column, *part) if text and text.strip())
    except SpecError as error:
        raise SpecError([f"[corpus] {problem}" for problem in error.problems]) from error


def txt_texts(path: Path, column: str, *part: int) -> Iterator[str]:
    """One text a line."""
    for _, line in lines_of(path, *part):
        yield from (text.strip() for text in line.split("\r"))


def jsonl_texts(path: Path, column: str, *part: int) -> Iterator[str | None]:
    """One object a line."""
    for number, row in json_rows(path, *part):
        if column not in row:
            raise SpecError([f"{path}, line {number} has {no_column(column, row, False)}"])
        text = row[column]
        if not isinstance(text, str | None):
            raise SpecError([f"{path}, line {number}: {column!r} holds {text!r}, not a text"])
        yield text


def csv_texts(path: Path, column: str) -> Iterator[str]:
    """One row a text."""
    table = read_table(path)
    if column not in table.columns:
        raise SpecError([f"text_column: {path} has {no_column(column, table.columns, column in table.twice)}"])
    yield from table.columns[column]


def parquet_texts(path: Path, column: str, *part: int) -> Iterator[str | None]:
    """One row a text, a group of rows at a time."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if schema.names.count(column) != 1:
                raise SpecError([f"text_column: {path} has {no_column(column, schema.names, column in schema.names)}"])
            kind = schema.field(column).type
            if (kind.value_type if pa.types.is_dictionary(kind) else kind) not in STRINGS:
                raise SpecError([f"text_column {column!r}: in {path} it holds {kind}, not text"])
            groups = range(*part) if part else range(file.num_row_groups)
            for batch in file.iter_batches(row_groups=groups, columns=[column]):
                yield from batch.column(column).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise SpecError([f"{path} cannot be read: {error}"]) from error


TEXTS: dict[str, Callable[..., Iterator[str | None]]] = {
    ".txt": txt_texts, ".jsonl": jsonl_texts, ".parquet": parquet_texts, ".csv": csv_texts, ".tsv": csv_texts,
}  # fmt: skip
"""How the texts of a file are read, by its ending."""
