"""Files of rows, for tasks and corpora alike: Parquet, JSON lines, CSV or TSV; text may be compressed (gzip, zstd).

Files of text are UTF-8, with or without a byte order mark. In CSV a field that begins with a quotation mark ends with
one (RFC 4180). TSV is written in two ways: as plain lines (GLUE), or by the rules of CSV (pandas). `read_tsv` tells
them apart by the quotation marks, and refuses what may be either.
"""

import csv
import io
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spaces.errors import SpecError, nearest
from trainables.text.files import File
from trainables.text.text_files import COMPRESSED, compression_of, format_of, lines_of, opened, text_of

ZSTD_RATIO = 3
"""By how much text is larger than its zstd, about; not every file says its size."""
Fields = list[tuple[int, list[str]]]
"""The rows of a file with the line on which each begins, counted from 1; the first row is the header."""


class Columns(Mapping[str, list]):
    """Columns by their names, each read when it is asked for: of a wide table most are not."""

    def __init__(self, names: Iterable[str], read: Callable[[str], list]) -> None:
        self._names = dict.fromkeys(names)
        self._read = cache(read)

    def __getitem__(self, name: str) -> list:
        """Raises SpecError for values that cannot be read."""
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class Table:
    """A file of rows, or a split of a data set of the hub.

    columns: those that are there once; `twice` are the others. class_names: of the columns whose metadata has some.
    """

    columns: Mapping[str, list]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    twice: frozenset[str] = frozenset()


def read_table(file: File) -> Table:
    """One file of rows. Raises SpecError with the line where it cannot be read."""
    return READERS[format_of(file.name)[1]](file)


def read_parquet(file: File) -> Table:
    """Parquet, with the class names that the package datasets stores in it."""
    try:
        with file.open(buffered=False) as raw:
            schema = pq.read_schema(raw)
    except (pa.ArrowException, OSError) as error:
        raise SpecError([f"{file} cannot be read: {error}"]) from error

    def read(name: str) -> list:
        try:
            with file.open() as raw, pq.ParquetFile(raw) as opened:  # groups of rows that lie close are one request
                return opened.read(columns=[name]).column(name).to_pylist()
        except (pa.ArrowException, ValueError, OverflowError, OSError) as error:
            raise SpecError([f"{file}, column {name!r} cannot be read: {error}"]) from error

    stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = stored.get("info", {}).get("features", {})
    names = {column: class_names(feature) for column, feature in features.items()}
    once, twice = unique(schema.names)
    return Table(Columns(once, read), names, twice)


def class_names(feature: Any) -> tuple[str, ...]:
    """The class names of a column as Hugging Face's metadata describes it: of its values, or of those in its lists."""
    if isinstance(feature, list) and feature:
        return class_names(feature[0])
    if not isinstance(feature, Mapping):
        return ()
    return tuple(feature.get("names") or ()) or class_names(feature.get("feature"))


def read_json_lines(file: File) -> Table:
    """An object a line; blank lines are passed over."""
    rows = [row for _, row in json_rows(file)]
    return Table(Columns((name for row in rows for name in row), lambda name: [row.get(name) for row in rows]))


def json_rows(file: File, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of all lines that are not blank, or of those between two bytes as `lines_of` has them."""
    for number, line in lines_of(file, begin, end):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=once_each)
        except (ValueError, RecursionError) as error:
            array = "; one object a line is read, and no list of them" if line.lstrip().startswith("[") else ""
            raise SpecError([f"{file}, line {number}: not valid JSON: {error}{array}"]) from error
        if not isinstance(row, dict):
            raise SpecError([f"{file}, line {number}: not an object with a value for each column"])
        if "\\ud" in line.lower() and not whole_characters(json.dumps(row, ensure_ascii=False)):
            raise SpecError([f"{file}, line {number}: half a character (a surrogate without its other half)"])
        yield number, row


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError where a name stands in it twice, of which Python would take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands in one object twice")
    return found


def no_column(name: str, names: Iterable[str], twice: bool) -> str:
    """What is wrong where a table has not a column, or has it twice; `names` are those that it has."""
    if twice:
        return f"the column {name!r} twice"
    known = sorted(names)
    mark = next((mark for mark in (";", "\t", "|") if len(known) == 1 and mark in known[0]), "")
    hint = f"; its fields stand between {mark!r}: save it with commas, or as .tsv with tabs" if mark else ""
    near = "" if hint else nearest(name, known).replace(" Did", ". Did")
    return f"no column {name!r}, only {', '.join(known) or 'nothing'}{near}{hint}"


def whole_characters(text: str) -> bool:
    """Whether a text can be written down: JSON may name half a character, which no encoding has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_csv(file: File) -> Table:
    """Comma-separated values; all are texts."""
    try:
        fields = quoted_fields(text_of(file), ",")
    except csv.Error as error:
        raise SpecError([f"{file}, {error}"]) from error
    if problem := uneven(fields):
        raise SpecError([f"{file}, {problem}"])
    return table_of(file, fields)


def read_tsv(file: File) -> Table:
    """Tab-separated values; all are texts."""
    lines = [(number, line.split("\t")) for number, line in lines_of(file) if line]
    problem = uneven(lines)
    try:
        quoted = quoted_fields(text_of(file), "\t")
    except csv.Error:
        quoted = []
    if quotes_of(lines) and quoted and not uneven(quoted):
        if problem or quotes_of(lines[:1]) or (len(quoted) == len(lines) and quotes_as_csv(lines)):
            return table_of(file, quoted)
        problem = over_lines(quoted)
    problem = problem or (returns_within(lines) if quotes_of(lines) else "")
    if problem:
        raise SpecError([f"{file}, {problem}"])
    return table_of(file, lines)


def quotes_of(lines: Fields) -> list[str]:
    """The fields that begin with a quotation mark."""
    return [field for _, line in lines for field in line if field.startswith('"')]


def quotes_as_csv(lines: Fields) -> bool:
    """Whether fields that begin with a quotation mark hold what only quotes need: those doubled, or a return."""
    return all('""' in field[1:-1] or "\r" in field for field in quotes_of(lines))


def over_lines(quoted: Fields) -> str:
    """The first row that is one by the rules of CSV and several as plain lines, where either may be meant; or ""."""
    for number, row in quoted:
        if any("\n" in each for each in row):
            return (
                f"line {number}: a quotation mark opens here and closes on a later line: one row by the rules of CSV, "
                "several as plain lines; quote the names of the columns too if it is one, or save the rows as .jsonl"
            )
    return ""


def returns_within(lines: Fields) -> str:
    """The first line with a carriage return in it, where it cannot be told what quotation marks mean; "" if none."""
    for number, line in lines:
        if any("\r" in field for field in line):
            return f"line {number}: a carriage return within the line; quote its field, or take the return out"
    return ""


READERS = {".parquet": read_parquet, ".jsonl": read_json_lines, ".csv": read_csv, ".tsv": read_tsv}
ENDINGS = f"{', '.join(READERS)}; files of text also with {' or '.join(COMPRESSED)}"
"""For people."""


def count_rows(file: File, first: int) -> int:
    """About how many rows or lines a file has; of a file of text by the size of its first ones."""
    if format_of(file.name)[1] == ".parquet":
        with file.open(buffered=False) as raw:
            return pq.read_metadata(raw).num_rows
    with opened(file) as stream:
        taken = sum(len(line) for line in itertools.islice(stream, max(1, first)))
    size = file.size_bytes
    if (kind := compression_of(file.name)) == "gzip":  # its last four bytes are its size before, up to 4 GB
        with file.open(buffered=False) as stream:
            stream.seek(-4, os.SEEK_END)
            size = int.from_bytes(stream.read(4), "little")
    elif kind == "zstd":
        size *= ZSTD_RATIO
    return round(size / taken * first) if taken else 0


def quoted_fields(text: str, delimiter: str) -> Fields:
    """Rows by the rules of CSV, blank lines left out. Raises csv.Error with the line where a row begins."""
    csv.field_size_limit(sys.maxsize)
    ends = "\n" if "\n" in text else ""  # a return alone ends lines only in files that have no other ends
    reader = csv.reader(io.StringIO(text, newline=ends), delimiter=delimiter, strict=True)
    rows: Fields = []
    start = 1
    try:
        for row in reader:
            if row:
                rows.append((start, row))
            start = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {start}: {error}") from error
    return rows


def uneven(rows: Fields) -> str:
    """The first row that has not as many fields as the header; "" if there is none."""
    for number, row in rows:
        if len(row) != len(rows[0][1]):
            return f"line {number}: {len(row)} fields where the header has {len(rows[0][1])}"
    return ""


def table_of(file: File, rows: Fields) -> Table:
    """The columns of a file of text."""
    if not rows:
        raise SpecError([f"{file} is empty: it has no line with the names of its columns"])
    once, twice = unique(rows[0][1])
    return Table(Columns(once, lambda name: [row[once[name]] for _, row in rows[1:]]), twice=twice)


def unique(names: Sequence[str]) -> tuple[dict[str, int], frozenset[str]]:
    """(where each name stands that is there once, names that are there more often)."""
    twice = frozenset(name for name, count in Counter(names).items() if count > 1)
    return {name: place for place, name in enumerate(names) if name not in twice}, twice
