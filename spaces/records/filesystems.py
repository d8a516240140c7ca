"""Where a path or a URI leads: one way to open any filesystem, for whoever writes a study and whoever reads one."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from spaces.errors import StillhouseError, nearest

PAUSES_S = (0.05, 0.2, 0.8)
"""Before an object that did not come whole is read again."""


def open_filesystem(folder: str | Path) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a local path or of a URI (s3://, gs://; others through fsspec), and the path in it.

    Raises StillhouseError where no filesystem of that kind is installed.
    """
    text = str(folder)
    if "://" not in text:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text))
    text = text.rstrip("/")
    try:
        return pafs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise StillhouseError(f"no filesystem for {text!r}: {error}") from error
    except ValueError as error:
        near = nearest(text.partition("://")[0], {"s3", "gs", *fsspec.available_protocols()})
        raise StillhouseError(
            f"no filesystem for {text!r}: {error}.{near} Known: gs, s3 and those of the package fsspec"
        ) from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path


def read_text(filesystem: pafs.FileSystem, path: str) -> str | None:
    """The text of a file, None when there is none."""
    if filesystem.get_file_info(path).type != pafs.FileType.File:
        return None
    with filesystem.open_input_stream(path) as file:
        return file.read().decode()  # type: ignore[no-any-return]


def read_object(filesystem: pafs.FileSystem, path: str) -> pa.Buffer:
    """All of a file, by one request. Raises OSError."""
    with filesystem.open_input_file(path) as file:
        return file.read_buffer()


def read_parquet(filesystem: pafs.FileSystem, path: str, data: pa.Buffer | None = None) -> pa.Table:
    """A whole Parquet file; `data` is what has been read of it already. Raises OSError or pa.ArrowException.

    An object store tells a size and hands out bytes by separate requests: when a writer replaces the file between the
    two, what comes is cut off. It is then read again; a file that is damaged stays so.
    """
    for pause_s in (*PAUSES_S, None):
        try:
            source = pa.BufferReader(read_object(filesystem, path) if data is None else data)
            return pq.ParquetFile(source, pre_buffer=False).read(use_threads=False)
        except (pa.ArrowException, OSError):
            if pause_s is None or isinstance(filesystem, pafs.LocalFileSystem):
                raise
        data = None
        time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")
