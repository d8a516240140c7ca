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
GS_RETRY_S = 15
"""How long gs:// is asked again what it does not answer; a quarter of an hour, if it is not told."""
OWN = ("gs", "s3")
"""Schemes for which no package but pyarrow is asked."""
WITHOUT_FOLDERS = ("s3", "gcs")
"""Stores in which a file needs no folder, by `type_name`."""


def open_filesystem(folder: str | Path) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a local path or of a URI (s3://, gs://; others through fsspec), and the path in it.

    Raises StillhouseError where no filesystem of that kind is installed.
    """
    text = str(folder)
    if "://" not in text:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text))
    text = text.rstrip("/")
    scheme = text.partition("://")[0]
    if scheme in OWN and "#" in text:  # pyarrow would open what stands before it
        raise StillhouseError(f"no filesystem for {text!r}: write %23 for #")
    limit = f"?retry_limit_seconds={GS_RETRY_S}" if scheme == "gs" and "?" not in text else ""
    try:
        return pafs.FileSystem.from_uri(text + limit)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if scheme in OWN:
            raise StillhouseError(f"no filesystem for {text!r}: {error}") from error
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise StillhouseError(f"no filesystem for {text!r}: {error}") from error
    except ValueError as error:
        near = nearest(scheme, {*OWN, *fsspec.available_protocols()})
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


def said_by(error: Exception) -> str:
    """What a store says where it refuses, as one line, without what Google's library says of itself after that."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].partition(" error_info=")[0]


def make_parent(filesystem: pafs.FileSystem, path: str) -> None:
    """Make the folder of a file, unless the store has none.

    It would keep an empty object for each. gs:// would also ask for the bucket, which who may write objects need not be
    allowed to, and make one where a name is mistyped.
    """
    if filesystem.type_name not in WITHOUT_FOLDERS:
        filesystem.create_dir(path.rpartition("/")[0] or ".", recursive=True)


def folders_in(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    """Names of the folders right below a folder, sorted; none where it is not there.

    gs:// lists a folder only where an object stands for it, so there all that is below is listed.
    """
    deep = filesystem.type_name == "gcs"
    listing = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True, recursive=deep))
    found: set[str] = set()
    for info in listing:
        name, _, below = info.path[len(folder) :].strip("/").partition("/")
        if below or info.type == pafs.FileType.Directory:
            found.add(name)
    return sorted(found)


def copy_folder(source: pafs.FileSystem, folder: str, target: pafs.FileSystem, path: str) -> None:
    """Copy all files below a folder. Raises OSError.

    One by one: pyarrow copies a folder only where the store lists those in it, which gs:// does not (`folders_in`).
    """
    for info in source.get_file_info(pafs.FileSelector(folder, recursive=True)):
        if info.type == pafs.FileType.File:
            copy = f"{path}/{info.path[len(folder) :].strip('/')}"
            make_parent(target, copy)
            pafs.copy_files(info.path, copy, source, target)
