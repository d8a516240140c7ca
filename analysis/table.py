"""A study folder as one checked value.

The folder is read through pyarrow, so it may lie on a disk or on an object store (`s3://bucket/study`). What cannot be
read is an error that names the file: a damaged part must never look like a smaller study. Part files are written whole
and then renamed, so names that start with '.' or end with '.tmp' are writes in progress and are passed over.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from spaces.architecture import StudentArchitecture
from spaces.errors import StillhouseError
from spaces.records import Column, reports_columns, schema, test_scores_columns, trials_columns

FORMAT = 1
SHAPE_AXES = ("num_layers", "hidden_size", "num_heads", "intermediate_size")
READERS = 8
TEACHER_ROW, FLOOR_ROW = -1, -2


def open_folder(folder: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The filesystem of a local path or a URI, and the path within it."""
    text = str(folder).rstrip("/") or "/"
    if "://" not in text:
        return pyarrow.fs.LocalFileSystem(), os.path.expanduser(text)
    try:
        return pyarrow.fs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        raise StillhouseError(f"no filesystem for {text!r}: {error}") from error
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)), path


def part_files(filesystem: pyarrow.fs.FileSystem, folder: str) -> list[str]:
    """Finished part files of a folder in the order of their names; an absent folder has none."""
    found = filesystem.get_file_info(pyarrow.fs.FileSelector(folder, allow_not_found=True))
    names = [info.path for info in found if info.type == pyarrow.fs.FileType.File]
    return sorted(path for path in names if _finished(path.rsplit("/", 1)[-1]))


def _finished(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith(".")


def read_parts(filesystem: pyarrow.fs.FileSystem, paths: Iterable[str], columns: Sequence[Column]) -> pa.Table:
    """The parts as one table with exactly `columns`; the first part that does not fit is an error."""
    wanted, paths = schema(columns), list(paths)
    with ThreadPoolExecutor(READERS) as readers:  # waiting for a store overlaps; parsing holds the interpreter anyway
        files = readers.map(lambda path: _read_bytes(filesystem, path), paths)
        parts = [_parse(path, data, wanted) for path, data in zip(paths, files, strict=True)]
    return pa.concat_tables(parts) if parts else wanted.empty_table()


def _read_bytes(filesystem: pyarrow.fs.FileSystem, path: str) -> pa.Buffer:
    try:
        with filesystem.open_input_file(path) as file:
            return file.read_buffer()
    except OSError as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> StillhouseError:
    return StillhouseError(
        f"{path} is damaged and cannot be read ({str(error).splitlines()[0]}). Restore it from a copy, or set it aside "
        f"(mv {path} {path}.damaged): only the rows in it are lost."
    )


def _parse(path: str, data: pa.Buffer, wanted: pa.Schema) -> pa.Table:
    try:
        table = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    if table.schema.equals(wanted):
        return table
    names = set(table.column_names)
    if missing := [name for name in wanted.names if name not in names]:
        raise StillhouseError(
            f"{path} has no column {', '.join(repr(name) for name in missing)}. It was written by another version of "
            f"stillhouse or for other tasks: read it with that version, or move it out of the study."
        )
    table = table.select(wanted.names)
    for field in wanted:
        found = table.schema.field(field.name).type
        if found != field.type and not pa.types.is_null(found):
            raise StillhouseError(
                f"{path}: column {field.name!r} must be of type {field.type}, got {found}. It was written by another "
                f"version of stillhouse: read it with that version, or move it out of the study."
            )
    return table.cast(wanted)


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(ignore_metadata=True)


def _architecture_names(trials: pd.DataFrame) -> pd.Series:
    """'4x256' per trial, '' where the row has no shape (a trial that could not be built may lack one)."""
    shapes = trials[list(SHAPE_AXES)]
    known = set(shapes.dropna().itertuples(index=False, name=None))
    names = {shape: StudentArchitecture(*map(int, shape)).name for shape in known}
    named = [names.get(shape, "") for shape in shapes.itertuples(index=False, name=None)]
    return pd.Series(named, trials.index, dtype=object)


def read_text(filesystem: pyarrow.fs.FileSystem, path: str) -> str | None:
    """The text of a file, None when there is none."""
    if filesystem.get_file_info(path).type != pyarrow.fs.FileType.File:
        return None
    with filesystem.open_input_stream(path) as file:
        return file.read().decode()


def _read_meta(filesystem: pyarrow.fs.FileSystem, folder: str) -> dict[str, Any]:
    path = f"{folder}/study.json"
    text = read_text(filesystem, path)
    if text is None:
        raise StillhouseError(f"there is no study at {folder}: {path} does not exist.")
    try:
        meta = json.loads(text)
    except ValueError as error:
        raise StillhouseError(f"{path} is not valid JSON ({error}). Restore it, or start the study again.") from error
    found = meta.get("format") if isinstance(meta, dict) else None
    if found != FORMAT:
        raise StillhouseError(f"{path}: format must be {FORMAT}, got {found!r}. Use the version that wrote it.")
    if missing := [key for key in ("name", "objectives", "teacher", "tasks") if key not in meta]:
        raise StillhouseError(f"{path} lacks {', '.join(missing)}. Restore it, or start the study again.")
    return meta


@dataclass(frozen=True, eq=False)
class Study:
    """Everything a study folder says. Reports and test scores are read when first asked for."""

    folder: str
    """as the user wrote it"""
    meta: dict[str, Any]
    """study.json"""
    trials: pd.DataFrame
    """one row per trial number, by trial number; beside the recorded columns, `architecture`: the shape's name"""
    notes: tuple[str, ...] = ()
    """what the reader should know about the files, in sentences"""

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The trials that ended with scores."""
        return self.trials[self.trials["status"] == "finished"]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names, in the order of the spec."""
        return tuple(self.meta["tasks"])

    @cached_property
    def reports(self) -> pd.DataFrame:
        """Every report of every trial."""
        filesystem, path = open_folder(self.folder)
        return _to_pandas(read_parts(filesystem, part_files(filesystem, f"{path}/reports"), reports_columns()))

    @cached_property
    def test_scores(self) -> pd.DataFrame:
        """Scores on the test split; trial -1 is the teacher, -2 the floor."""
        filesystem, path = open_folder(self.folder)
        return _to_pandas(read_parts(filesystem, part_files(filesystem, f"{path}/test_scores"), test_scores_columns()))

    @cached_property
    def spec(self) -> str:
        """The resolved spec as written, '' when there is none."""
        filesystem, path = open_folder(self.folder)
        return read_text(filesystem, f"{path}/spec.toml") or ""

    def reports_of(self, trials: Iterable[int]) -> pd.DataFrame:
        """Reports of some trials: opens only the parts that carry their numbers when every trial has one."""
        wanted = {int(trial) for trial in trials}
        filesystem, path = open_folder(self.folder)
        by_number: dict[int, list[str]] = {}
        for part in part_files(filesystem, f"{path}/reports"):
            if number := re.search(r"\d+", part.rsplit("/", 1)[-1]):
                by_number.setdefault(int(number[0]), []).append(part)
        parts = [part for trial in sorted(wanted) for part in by_number.get(trial, [])]
        rows = _to_pandas(read_parts(filesystem, parts, reports_columns()))
        if not wanted <= set(rows["trial"]):
            rows = self.reports
        return rows[rows["trial"].isin(wanted)]


def load(folder: str) -> Study:
    """Read and check a study folder (a local path or a URI)."""
    filesystem, path = open_folder(folder)
    meta = _read_meta(filesystem, path)
    table = read_parts(filesystem, part_files(filesystem, f"{path}/trials"), trials_columns(list(meta["tasks"])))
    trials = _to_pandas(table)
    notes = []
    if repeated := sorted(set(trials.loc[trials["trial"].duplicated(), "trial"])):
        trials = trials.drop_duplicates("trial", keep="last")
        shown = ", ".join(str(number) for number in repeated[:10]) + (", ..." if len(repeated) > 10 else "")
        notes.append(f"Recorded more than once, where the last row counts: trial {shown}.")
    trials = trials.assign(architecture=_architecture_names(trials))
    if trials.empty:
        notes.append("No trial has ended yet: the study folder holds no rows.")
    return Study(str(folder), meta, trials.sort_values("trial", ignore_index=True), tuple(notes))
