"""Tasks in local files, one for each split: Parquet, JSON lines, CSV or TSV.

SOURCE/train.parquet, SOURCE/dev.parquet, ... or a stem, SOURCE-train.csv, SOURCE.dev.jsonl, SOURCE_test.tsv.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaces.errors import SpecError
from trainables.tasks.reading.tables import SPLIT_NAMES, Table, TaskSource

SUFFIXES = (".parquet", ".jsonl", ".csv", ".tsv")


def read_files(source: TaskSource) -> dict[str, Table]:
    """The table of each split that has a file."""
    return {split: read_file(file) for split, file in split_files(source).items()}


def split_files(source: TaskSource) -> dict[str, Path]:
    """The file of each split that exists."""
    stem = Path(source.address).expanduser()
    found: dict[str, Path] = {}
    for split, aliases in SPLIT_NAMES.items():
        for alias in aliases:
            if stem.is_dir():
                candidates = [stem / f"{alias}{suffix}" for suffix in SUFFIXES]
            else:
                candidates = [Path(f"{stem}{mark}{alias}{suffix}") for mark in "-._" for suffix in SUFFIXES]
            files = [file for file in candidates if file.is_file()]
            if len(files) > 1:
                raise SpecError([f"task {source.task!r}: {files[0]} and {files[1]} both hold the split {split!r}"])
            if files and split not in found:
                found[split] = files[0]
    if not found:
        where = f"{stem}/train" if stem.is_dir() else f"{stem}/train or {stem}-train"
        raise SpecError([f"task {source.task!r}: no file {where} ending in {', '.join(SUFFIXES)}"])
    return found


def read_file(file: Path) -> Table:
    """One table file."""
    import pyarrow as pa

    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(file)
        elif file.suffix == ".jsonl":
            import pyarrow.json

            table = pyarrow.json.read_json(file)
        else:
            import pyarrow.csv

            parsing = pyarrow.csv.ParseOptions(
                delimiter="\t" if file.suffix == ".tsv" else ",", newlines_in_values=file.suffix == ".csv"
            )
            table = pyarrow.csv.read_csv(file, parse_options=parsing)
    except pa.ArrowInvalid as error:
        raise SpecError([f"{file} cannot be read: {error}"]) from error
    stored = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = stored.get("info", {}).get("features", {})
    names = {column: class_names(feature) for column, feature in features.items()}
    return Table({column: table[column].to_pylist() for column in table.column_names}, names)


def class_names(feature: Any) -> tuple[str, ...]:
    """The class names of a column as Hugging Face's metadata describes it: of its values, or of those in its lists."""
    if isinstance(feature, list) and feature:
        return class_names(feature[0])
    if not isinstance(feature, Mapping):
        return ()
    return tuple(feature.get("names") or ()) or class_names(feature.get("feature"))
