"""Tasks in local files, one for each split: Parquet, JSON lines, CSV or TSV.

SOURCE/train.parquet, SOURCE/dev.parquet, ... or a stem, SOURCE-train.csv, SOURCE.dev.jsonl, SOURCE_test.tsv.

Files of text are UTF-8. In CSV a field that begins with a quotation mark ends with one (RFC 4180). TSV is written in
two ways: as plain lines (GLUE), or by the rules of CSV (pandas). `read_tsv` tells them apart by the quotation marks.
"""

import csv
import io
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spaces.errors import SpecError
from trainables.tasks.reading.tables import Table, TaskSource
from trainables.text.splits import SPLIT_WORDS, split_of

Fields = list[tuple[int, list[str]]]
"""The rows of a file with the line on which each begins, counted from 1; the first row is the header."""


def read_files(source: TaskSource, parts: Collection[str] = ()) -> dict[str, Table]:
    """The table of each split that has a file, and of other parts by their names."""
    return {split: read_file(file) for split, file in split_files(source, parts).items()}


def split_files(source: TaskSource, parts: Collection[str] = ()) -> dict[str, Path]:
    """The file of each split that exists, and of other parts by their names."""
    stem = Path(source.address).expanduser()
    folder, prefix = (stem, "") if stem.is_dir() else (stem.parent, stem.name)
    found: dict[str, Path] = {}
    unused: list[str] = []
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = file.stem.removeprefix(prefix)  # with a mark before it where there is a prefix
        if file.suffix.lower() not in READERS or file.name.startswith(".") or not file.is_file():
            continue
        if prefix and (name == file.stem or name[:1] not in tuple("-._")):
            continue
        name = name.lstrip("-._")
        split = name if name in parts else split_of(name)
        if split is None:
            unused.append(file.name)
        elif split in found:
            raise SpecError([f"task {source.task!r}: {found[split]} and {file} both hold the split {split!r}"])
        else:
            found[split] = file
    if not found:
        where = f"{stem}/train" if stem.is_dir() else f"{stem}/train or {stem}-train"
        raise SpecError([f"task {source.task!r}: no file {where} ending in {', '.join(READERS)}"])
    if unused:
        source.say(f"task {source.task}: files that are not used: {', '.join(unused)}")
    return {split: found[split] for split in (*SPLIT_WORDS, *parts) if split in found}


def read_file(file: Path) -> Table:
    """One table file. Raises SpecError with the line where it cannot be read."""
    return READERS[file.suffix.lower()](file)


def read_parquet(file: Path) -> Table:
    """Parquet, with the class names that the package datasets stores in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise SpecError([f"{file} cannot be read: {error}"]) from error
    stored = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = stored.get("info", {}).get("features", {})
    names = {column: class_names(feature) for column, feature in features.items()}
    once, twice = unique(table.column_names)
    return Table({name: table.column(place).to_pylist() for name, place in once.items()}, names, twice)


def class_names(feature: Any) -> tuple[str, ...]:
    """The class names of a column as Hugging Face's metadata describes it: of its values, or of those in its lists."""
    if isinstance(feature, list) and feature:
        return class_names(feature[0])
    if not isinstance(feature, Mapping):
        return ()
    return tuple(feature.get("names") or ()) or class_names(feature.get("feature"))


def read_json_lines(file: Path) -> Table:
    """An object a line; blank lines are passed over."""
    rows = []
    for number, line in lines_of(text_of(file)):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SpecError([f"{file}, line {number}: not valid JSON: {error}"]) from error
            if not isinstance(row, dict):
                raise SpecError([f"{file}, line {number}: not an object with a value for each column"])
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: [row.get(name) for row in rows] for name in names})


def read_csv(file: Path) -> Table:
    """Comma-separated values; all are texts."""
    try:
        fields = quoted_fields(text_of(file), ",")
    except csv.Error as error:
        raise SpecError([f"{file}, {error}"]) from error
    if problem := uneven(fields):
        raise SpecError([f"{file}, {problem}"])
    return table_of(file, fields)


def read_tsv(file: Path) -> Table:
    """Tab-separated values; all are texts."""
    text = text_of(file)
    lines = [(number, line.split("\t")) for number, line in lines_of(text) if line]
    problem = uneven(lines)
    try:
        quoted = quoted_fields(text, "\t")
    except csv.Error:
        quoted = []
    by_csv = problem or (len(quoted) == len(lines) and quotes_as_csv(lines))
    if quoted and not uneven(quoted) and by_csv:
        return table_of(file, quoted)
    if problem:
        raise SpecError([f"{file}, {problem}"])
    return table_of(file, lines)


def quotes_as_csv(lines: Fields) -> bool:
    """Whether fields that begin with a quotation mark look quoted: so is the header, or they all hold doubled ones."""
    header = lines[0][1] if lines else []
    marked = [field for _, line in lines for field in line if field.startswith('"')]
    return any(name.startswith('"') for name in header) or all('""' in field[1:-1] for field in marked)


READERS = {".parquet": read_parquet, ".jsonl": read_json_lines, ".csv": read_csv, ".tsv": read_tsv}


def text_of(file: Path) -> str:
    """The text of a file, without a byte order mark."""
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError([f"{file}, line {line}: not UTF-8 text; save the file in that encoding"]) from error


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of all lines; only a line feed ends one, with or without a carriage return before it."""
    for number, line in enumerate(text.split("\n"), start=1):
        yield number, line.removesuffix("\r")


def quoted_fields(text: str, delimiter: str) -> Fields:
    """Rows by the rules of CSV, blank lines left out. Raises csv.Error with the line where a row begins."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
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


def table_of(file: Path, rows: Fields) -> Table:
    """The columns of a file of text."""
    if not rows:
        raise SpecError([f"{file} is empty: it has no line with the names of its columns"])
    once, twice = unique(rows[0][1])
    return Table({name: [row[place] for _, row in rows[1:]] for name, place in once.items()}, twice=twice)


def unique(names: Sequence[str]) -> tuple[dict[str, int], frozenset[str]]:
    """(where each name stands that is there once, names that are there more often)."""
    twice = frozenset(name for name in names if names.count(name) > 1)
    return {name: place for place, name in enumerate(names) if name not in twice}, twice
