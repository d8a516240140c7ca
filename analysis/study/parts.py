"""The Parquet parts of a study folder, read through pyarrow and checked.

The folder may lie on a disk or on an object store (`s3://bucket/study`). What cannot be read is an error that names the
file: a damaged part must never look like a smaller study. Part files are written whole and then renamed, so names that
start with '.' or end with '.tmp' are writes in progress and are passed over.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.fs

from spaces.errors import StillhouseError
from spaces.records.filesystems import read_object, read_parquet
from spaces.records.schemas import Column, conformed, schema

READERS = 8
Kept = dict[tuple[str, int, int | None], pa.Table]
"""Parts that were read before, by path, size and time of writing: a watcher reads only what is new."""


def part_files(filesystem: pyarrow.fs.FileSystem, folder: str) -> list[pyarrow.fs.FileInfo]:
    """Finished part files of a folder in the order of their names; an absent folder has none."""
    found = filesystem.get_file_info(pyarrow.fs.FileSelector(folder, allow_not_found=True))
    parts = [info for info in found if info.type == pyarrow.fs.FileType.File and _finished(info.base_name)]
    return sorted(parts, key=lambda info: info.path)


def _finished(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith(".")


def read_parts(
    filesystem: pyarrow.fs.FileSystem,
    parts: Iterable[pyarrow.fs.FileInfo],
    columns: Sequence[Column],
    kept: Kept | None = None,
) -> pa.Table:
    """The parts as one table with exactly `columns` (`conformed`); the first part that does not fit is an error.

    Parts in `kept` are not read again, and what is read goes there.
    """
    parts, kept = list(parts), {} if kept is None else kept
    missing = [info for info in parts if _key(info) not in kept]
    with ThreadPoolExecutor(READERS) as readers:  # waiting for a store overlaps; parsing holds the interpreter anyway
        files = readers.map(lambda info: _read_bytes(filesystem, info.path), missing)
        for info, data in zip(missing, files, strict=True):
            kept[_key(info)] = _parse(filesystem, info.path, data, columns)
    return pa.concat_tables(kept[_key(info)] for info in parts) if parts else schema(columns).empty_table()


def _key(info: pyarrow.fs.FileInfo) -> tuple[str, int, int | None]:
    return info.path, info.size, info.mtime_ns


def _read_bytes(filesystem: pyarrow.fs.FileSystem, path: str) -> pa.Buffer:
    try:
        return read_object(filesystem, path)
    except OSError as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> StillhouseError:
    return StillhouseError(
        f"{path} is damaged and cannot be read ({str(error).splitlines()[0]}). Restore it from a copy, or set it aside "
        f"(mv {path} {path}.damaged): only the rows in it are lost."
    )


def _parse(filesystem: pyarrow.fs.FileSystem, path: str, data: pa.Buffer, columns: Sequence[Column]) -> pa.Table:
    try:
        table = read_parquet(filesystem, path, data)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    return conformed(table, columns, path)


def read_text(filesystem: pyarrow.fs.FileSystem, path: str) -> str | None:
    """The text of a file, None when there is none."""
    if filesystem.get_file_info(path).type != pyarrow.fs.FileType.File:
        return None
    with filesystem.open_input_stream(path) as file:
        return file.read().decode()
