"""Where a path or a URI leads: one way to open any filesystem, for whoever writes a study and whoever reads one."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from spaces.errors import StillhouseError


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
    except (ImportError, ValueError) as error:
        raise StillhouseError(f"no filesystem for {text!r}: {error}") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path
