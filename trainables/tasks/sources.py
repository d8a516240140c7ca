"""Where labelled tasks come from: local files, the Hugging Face hub, or the docstrings of the installed packages.

Every source ends as the same plain rows (`Rows`, or `TaggedRows` for token classification), checked once, so that
nothing after it has to wonder whether a text is missing or a label out of range. All problems of a task are reported
together.

Files: SOURCE/train.parquet, SOURCE/dev.parquet, ... or a stem, SOURCE-train.csv, SOURCE.dev.jsonl, SOURCE_test.tsv.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spaces.errors import SpecError
from trainables.tasks.rows import Rows, place
from trainables.tasks.spec import TaskSpec
from trainables.tasks.tagged_rows import AnyRows, tagged_rows

SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid"), "test": ("test",)}
SUFFIXES = (".parquet", ".jsonl", ".csv", ".tsv")


def read_rows(spec: TaskSpec) -> tuple[dict[str, AnyRows], tuple[str, ...]]:
    """(split -> rows, label names) of a task; no names for regression. Raises SpecError with every problem found."""
    if spec.source.startswith("hub:"):
        tables, names = read_hub(spec)
    elif spec.source.startswith("docs:"):
        tables, names = read_docs(spec)
    else:
        tables, names = read_files(spec)
    problems: list[str] = []
    raw = {split: columns_of(spec, split, table, problems) for split, table in tables.items()}
    if problems:
        raise SpecError(problems)
    if spec.kind == "token_classification":
        return tagged_rows(spec, raw, names)
    if spec.kind == "regression":
        names = ()
        labels = {split: regression_targets(spec, split, row["label"], problems) for split, row in raw.items()}
    else:
        names, labels = class_ids(spec, {split: row["label"] for split, row in raw.items()}, names, problems)
    if problems:
        raise SpecError(problems)
    return {split: Rows(row["text"], row.get("text2"), labels[split]) for split, row in raw.items()}, names


def read_files(spec: TaskSpec) -> tuple[dict[str, Mapping[str, list]], tuple[str, ...]]:
    """Columns of each split file, and the class names stored in Parquet metadata, if any."""
    tables: dict[str, Mapping[str, list]] = {}
    names: tuple[str, ...] = ()
    for split, file in split_files(spec).items():
        columns, found = read_file(file)
        tables[split] = columns
        names = names or found.get(spec.label_column, ())
    return tables, names


def split_files(spec: TaskSpec) -> dict[str, Path]:
    """The file of each split that exists; train must."""
    source = Path(spec.source).expanduser()
    found: dict[str, Path] = {}
    for split, aliases in SPLIT_NAMES.items():
        for alias in aliases:
            if source.is_dir():
                candidates = [source / f"{alias}{suffix}" for suffix in SUFFIXES]
            else:
                candidates = [Path(f"{source}{mark}{alias}{suffix}") for mark in "-._" for suffix in SUFFIXES]
            files = [file for file in candidates if file.is_file()]
            if len(files) > 1:
                raise SpecError([f"task {spec.name!r}: {files[0]} and {files[1]} both hold the split {split!r}"])
            if files and split not in found:
                found[split] = files[0]
    if "train" not in found:
        where = f"{source}/train" if source.is_dir() else f"{source}/train or {source}-train"
        raise SpecError([f"task {spec.name!r}: no file {where} ending in {', '.join(SUFFIXES)}"])
    return found


def read_file(file: Path) -> tuple[dict[str, list], dict[str, tuple[str, ...]]]:
    """(column -> values, column -> class names) of one table file."""
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
    return {column: table[column].to_pylist() for column in table.column_names}, names


def class_names(feature: Any) -> tuple[str, ...]:
    """The class names of a column as Hugging Face's metadata describes it: of its values, or of those in its lists."""
    if isinstance(feature, list) and feature:
        return class_names(feature[0])
    if not isinstance(feature, Mapping):
        return ()
    return tuple(feature.get("names") or ()) or class_names(feature.get("feature"))


def read_hub(spec: TaskSpec) -> tuple[dict[str, Mapping[str, list]], tuple[str, ...]]:
    """`hub:glue/sst2` is the configuration sst2 of glue, `hub:owner/name` or `hub:owner/name/config` a user's data set.

    A split whose labels are all -1 (GLUE's hidden test labels) counts as absent.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        problem = f"task {spec.name!r}: {spec.source!r} needs the package datasets: pip install datasets"
        raise SpecError([problem]) from error
    path, config = hub_name(spec.source)
    try:
        splits = load_dataset(path, config)
    except (OSError, ValueError) as error:
        raise SpecError([f"task {spec.name!r}: {spec.source!r} cannot be loaded: {error}"]) from error
    tables: dict[str, Mapping[str, list]] = {}
    names: tuple[str, ...] = ()
    for split, aliases in SPLIT_NAMES.items():
        for alias in aliases:
            if alias in splits and split not in tables:
                data = splits[alias]
                columns = {column: data[column][:] for column in data.column_names}
                if not hidden_labels(columns.get(spec.label_column, [])):
                    tables[split] = columns
                names = names or class_names(data.features.to_dict().get(spec.label_column))
    if "train" not in tables:
        raise SpecError([f"task {spec.name!r}: {spec.source!r} has no labelled train split, only {sorted(splits)}"])
    return tables, names


def hidden_labels(labels: list) -> bool:
    """Whether every label, or every tag of every sentence, is -1."""
    flat = [tag for label in labels for tag in (label if isinstance(label, list) else [label])]
    return bool(flat) and all(tag == -1 for tag in flat)


def hub_name(source: str) -> tuple[str, str | None]:
    """(data set, configuration): glue and super_glue are the two collections that are written as name/configuration."""
    parts = source.removeprefix("hub:").split("/")
    if len(parts) == 2 and parts[0] in ("glue", "super_glue"):
        return parts[0], parts[1]
    return "/".join(parts[:2]), "/".join(parts[2:]) or None


def read_docs(spec: TaskSpec) -> tuple[dict[str, Mapping[str, list]], tuple[str, ...]]:
    """A task made of the docstrings of the installed packages; column names are given, so the spec's are not asked."""
    from trainables.text.docstrings import docs_task

    task = docs_task(spec.source.removeprefix("docs:"))
    tables: dict[str, Mapping[str, list]] = {}
    names: tuple[str, ...] = ()
    for split, columns in task.items():
        names = tuple(columns.get("label_names", ()))
        renamed = {"text": spec.text_column, "text2": spec.text2_column, "label": spec.label_column}
        tables[split] = {renamed[column]: list(columns[column]) for column in renamed if column in columns}
    return tables, names


def columns_of(spec: TaskSpec, split: str, table: Mapping[str, list], problems: list[str]) -> dict[str, list]:
    """The text, text2 and label columns of one split, checked: all there, not empty, every text a text."""
    wanted = {"text": spec.text_column, "label": spec.label_column}
    if spec.kind == "pair_classification" or spec.text2_column in table:
        wanted["text2"] = spec.text2_column
    if spec.kind in ("classification", "token_classification"):
        wanted.pop("text2", None)
    absent = [column for column in wanted.values() if column not in table]
    for column in absent:
        problems.append(f"{place(spec, split)} has no column {column!r}, only {', '.join(sorted(table))}")
    if absent:
        return {}
    columns = {key: list(table[column]) for key, column in wanted.items()}
    if not columns["label"]:
        problems.append(f"{place(spec, split)} is empty")
    for key in () if spec.kind == "token_classification" else ("text", "text2"):
        for row, text in enumerate(columns.get(key, ())):
            if not isinstance(text, str):
                problems.append(f"{place(spec, split)}: column {wanted[key]!r}, row {row} is {text!r}, not a text")
                break
    return columns


def regression_targets(spec: TaskSpec, split: str, labels: list, problems: list[str]) -> np.ndarray:
    """Finite float32 targets."""
    for row, label in enumerate(labels):
        if isinstance(label, str) or label is None or not math.isfinite(label):
            where = f"{place(spec, split)}: column {spec.label_column!r}, row {row}"
            problems.append(f"{where} is {label!r}, not a finite number")
            return np.zeros(len(labels), dtype=np.float32)
    return np.asarray(labels, dtype=np.float32)


def class_ids(
    spec: TaskSpec, labels: Mapping[str, list], names: tuple[str, ...], problems: list[str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """(class names, split -> ids). Labels are ids of the known names, or names themselves, sorted if none are known."""
    train = labels["train"]
    if any(isinstance(label, str) for label in train):
        names = names or tuple(sorted({str(label) for label in train}))
        number: dict[Any, int] = {name: i for i, name in enumerate(names)}
    else:
        whole = [int(label) for label in train if isinstance(label, int | float) and float(label).is_integer()]
        names = names or tuple(str(i) for i in range(max(whole, default=-1) + 1))
        number = {i: i for i in range(len(names))}
    ids = {}
    for split, column in labels.items():
        ids[split] = np.zeros(len(column), dtype=np.int64)
        for row, label in enumerate(column):
            if label not in number:
                rule = f"one of {', '.join(names)}" if label in (None, "") or isinstance(label, str) else "a class id"
                problems.append(
                    f"{place(spec, split)}: column {spec.label_column!r}, row {row} is {label!r}, not {rule}"
                    + ("" if isinstance(label, str | None) else f" from 0 to {len(names) - 1}")
                )
                break
            ids[split][row] = number[label]
    if len(set(ids["train"].tolist())) < 2:
        only = names[int(ids["train"][0])] if len(names) and len(ids["train"]) else "none"
        problems.append(f"{place(spec, 'train')} has one class only ({only}): there is nothing to tell apart")
    return names, ids
