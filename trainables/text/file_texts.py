"""The texts in one file of a corpus, whatever its format."""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from spaces.errors import SpecError
from trainables.text.files import READ_BYTES, File
from trainables.text.tables import json_rows, no_column, read_table
from trainables.text.text_files import format_of, lines_of

STRINGS = (pa.string(), pa.large_string(), pa.string_view())
ROWS = 1024
"""Of a Parquet file, as many texts as are held at a time, however large a group of rows is."""


def file_texts(file: File, column: str, *part: int) -> Iterator[str]:
    """The non-empty texts of one file, in its order. Raises SpecError with the line or row where there is none.

    part: begin and end of what is read, where that is not all: bytes at which lines begin, or groups of rows; only in
    files that fragments.py takes apart.
    """
    try:
        yield from (text for text in TEXTS[format_of(file.name)[1]](file, column, *part) if text and text.strip())
    except SpecError as error:
        raise SpecError([f"[corpus] {problem}" for problem in error.problems]) from error


def txt_texts(file: File, column: str, *part: int) -> Iterator[str]:
    """One text a line."""
    for _, line in lines_of(file, *part):
        yield from (text.strip() for text in line.split("\r"))


def jsonl_texts(file: File, column: str, *part: int) -> Iterator[str | None]:
    """One object a line."""
    for number, row in json_rows(file, *part):
        if column not in row:
            raise SpecError([f"{file}, line {number} has {no_column(column, row, False)}"])
        text = row[column]
        if not isinstance(text, str | None):
            raise SpecError([f"{file}, line {number}: {column!r} holds {text!r}, not a text"])
        yield text


def csv_texts(file: File, column: str) -> Iterator[str]:
    """One row a text."""
    table = read_table(file)
    if column not in table.columns:
        raise SpecError([f"text_column: {file} has {no_column(column, table.columns, column in table.twice)}"])
    yield from table.columns[column]


def parquet_texts(file: File, column: str, *part: int) -> Iterator[str | None]:
    """One row a text."""
    try:
        with file.open(buffered=False) as raw, pq.ParquetFile(raw, buffer_size=READ_BYTES) as table:
            schema = table.schema_arrow
            if schema.names.count(column) != 1:
                raise SpecError([f"text_column: {file} has {no_column(column, schema.names, column in schema.names)}"])
            kind = schema.field(column).type
            if (kind.value_type if pa.types.is_dictionary(kind) else kind) not in STRINGS:
                raise SpecError([f"text_column {column!r}: in {file} it holds {kind}, not text"])
            groups = range(*part) if part else range(table.num_row_groups)
            for batch in table.iter_batches(ROWS, row_groups=groups, columns=[column]):
                yield from batch.column(column).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise SpecError([f"{file} cannot be read: {error}"]) from error


TEXTS: dict[str, Callable[..., Iterator[str | None]]] = {
    ".txt": txt_texts, ".jsonl": jsonl_texts, ".parquet": parquet_texts, ".csv": csv_texts, ".tsv": csv_texts,
}  # fmt: skip
"""How the texts of a file are read, by its ending."""
