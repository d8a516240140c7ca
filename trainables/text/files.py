"""A file of texts or rows, wherever it lies: on this machine, in an object store, or with the driver of a cluster."""

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

import pyarrow as pa
import pyarrow.fs as pafs

from spaces.errors import StillhouseError
from spaces.records.filesystems import open_filesystem, said_by
from trainables.cache import content_digests, digest

READ_BYTES = 2**22
"""Of a file that lies elsewhere, at a time."""
PAUSES_S = (1.0, 4.0, 15.0)
"""Before bytes that a store did not give are asked for again."""
LASTING = ("does not exist", "ACCESS_DENIED", "Permission denied", "No such file")
"""Words of a store's answers that waiting does not mend."""
ASKED_AT_ONCE = 16
"""Objects whose versions a store is asked for."""

REACHED_BY = {
    "s3": "Credentials and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on)",
    "gs": "Credentials come from the environment (GOOGLE_APPLICATION_CREDENTIALS) or the machine's service account; "
    "without any: gs://anonymous@bucket",
}
"""How the stores of a study are reached, by scheme; others say it themselves."""
VERSIONS = ("md5hash", "etag")
"""What a store says of the content of an object, the best first: an ETag may be of an upload, an MD5 is of bytes."""

Read = Callable[[int, int], bytes]
"""So many bytes of a file from a place on."""


class Origin(Protocol):
    """Where the bytes of a file come from that does not lie on this machine."""

    def open(self) -> Read:
        """What reads them. Raises StillhouseError for what cannot be had."""
        ...


@dataclass(frozen=True)
class File:
    """A file of a source."""

    place: str
    """for people: its path on a machine, or its URI"""
    inner: PurePosixPath
    """its path below the source; its name where the source is a single file"""
    size_bytes: int
    origin: Origin | None = None
    """None: it lies on this machine"""

    @property
    def name(self) -> str:
        """Without folders."""
        return self.inner.name

    def __str__(self) -> str:
        return self.place

    def open(self, *, buffered: bool = True) -> BinaryIO:
        """Its bytes. One that lies elsewhere is never copied as a whole: what is read of it is asked for.

        Raises OSError on this machine, and StillhouseError elsewhere, so that what a store does not answer is not taken
        for a fault of the file.
        """
        if self.origin is None:
            return cast(BinaryIO, open(self.place, "rb", -1 if buffered else 0))
        raw = Ranges(self)
        return cast(BinaryIO, io.BufferedReader(raw, READ_BYTES) if buffered else raw)


class Ranges(io.RawIOBase):
    """A file that lies elsewhere as a stream."""

    def __init__(self, file: File) -> None:
        assert file.origin is not None
        self._file, self._read, self._at = file, file.origin.open(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size_bytes}[whence]
        return self._at

    def readinto(self, buffer: object) -> int:
        """Raises StillhouseError for a file that became shorter: its end would be missed in silence."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        number = max(0, min(len(view), self._file.size_bytes - self._at))
        found = self._read(self._at, number) if number else b""
        if len(found) != number:
            raise StillhouseError(f"{self._file} has changed while it was read")
        view[:number] = found
        self._at += number
        return number


@dataclass(frozen=True)
class Stored:
    """An object of a store. Whoever reads it opens the store by itself, so that workers need no driver for it."""

    source: str
    path: str
    """in the store"""
    changed_ns: int | None
    """when, if the store says so"""

    def open(self) -> Read:
        """What reads it: a request for each range, again after a pause where there is no answer."""
        handles: list[pafs.NativeFile] = []

        def read(begin: int, number: int) -> bytes:
            for pause_s in (*PAUSES_S, None):
                try:
                    if not handles:
                        handles.append(store_of(self.source)[0].open_input_file(self.path))
                    return cast(bytes, handles[0].read_at(number, begin))
                except OSError as error:
                    if pause_s is None or any(words in str(error) for words in LASTING):
                        raise self.unread(error) from error
                time.sleep(pause_s)
            raise AssertionError("the last attempt returns or raises")

        return read

    def version(self, size_bytes: int) -> str:
        """A digest of its size and of the MD5 or ETag that the store gives it; without one, of the time of its last
        change; where a store says none of these, SHA-256 of its bytes, which are read for it.
        """
        try:
            with store_of(self.source)[0].open_input_stream(self.path) as stream:
                about = {str(name).lower(): value for name, value in stream.metadata().items()}
                known = next(filter(None, map(about.get, VERSIONS)), self.changed_ns)
                if known is not None:
                    return digest(size_bytes, known)
                sha256 = hashlib.sha256()
                while part := stream.read(READ_BYTES):
                    sha256.update(part)
                return sha256.hexdigest()
        except OSError as error:
            raise self.unread(error) from error

    def unread(self, error: OSError) -> StillhouseError:
        """What is told of it."""
        return StillhouseError(f"{self.path} of {self.source} cannot be read: {said_by(error)}")


@lru_cache(maxsize=8)
def store_of(source: str) -> tuple[pafs.FileSystem, str]:
    """(a store, the path of the source in it). Raises OSError, and StillhouseError for a scheme that is not known."""
    return open_filesystem(source)


@contextmanager
def answering(source: str) -> Iterator[None]:
    """Raises StillhouseError with what a store says where it refuses."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        reached = REACHED_BY.get(source.partition("://")[0], "")
        raise StillhouseError(f"the store does not give it: {said_by(error)}. {reached}".rstrip()) from error


def is_elsewhere(source: str) -> bool:
    """Whether a source is a URI."""
    return "://" in source


def file_here(path: Path, root: Path | None = None) -> File:
    """A file of this machine, of a source or by itself."""
    inner = PurePosixPath(path.name if root in (None, path) else path.relative_to(cast(Path, root)).as_posix())
    return File(str(path), inner, path.stat().st_size)


def files_at(source: str) -> list[File] | None:
    """The file, or all files of the folder and of folders in it, sorted; None where nothing is there.

    Names that begin with a dot, of files and of folders, are passed over. Raises StillhouseError where a store refuses.
    """
    if is_elsewhere(source):
        found = stored_files(source)
    else:
        root = Path(source).expanduser()
        if not root.exists():
            return None
        found = [file_here(path, root) for path in (files_below(root) if root.is_dir() else [root])]
    return found and sorted(found, key=lambda file: file.inner)


def stored_files(source: str) -> list[File] | None:
    """Those of a store, by one listing."""
    with answering(source):
        filesystem, root = store_of(source)
        about = filesystem.get_file_info(root)
        if about.type == pafs.FileType.File:
            return [File(source, PurePosixPath(about.base_name), about.size, Stored(source, root, about.mtime_ns))]
    return None if about.type == pafs.FileType.NotFound else stored_below(source, root, source, recursive=True)


def stored_below(source: str, root: str, place: str, *, recursive: bool) -> list[File]:
    """The files of a folder in the store of a source, with those of folders in it or without; `place` is its URI."""
    with answering(source):
        listing = store_of(source)[0].get_file_info(pafs.FileSelector(root, recursive=recursive))
    found: list[File] = []
    for each in listing:
        inner = PurePosixPath(each.path[len(root) :].lstrip("/"))
        if each.type == pafs.FileType.File and not any(name.startswith(".") for name in inner.parts):
            origin = Stored(source, each.path, each.mtime_ns)
            found.append(File(f"{place.rstrip('/')}/{inner}", inner, each.size, origin))
    return found


def files_below(root: Path) -> Iterator[Path]:
    """All files of a folder and of folders in it, linked ones too, each folder once."""
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link may lead back to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith(".") and Path(place, name).is_file())


def versions_of(files: Sequence[File]) -> list[str]:
    """What tells the contents of files, as hex digits: SHA-256 on this machine, `Stored.version` in a store."""
    stored = [(file.origin, file.size_bytes) for file in files if isinstance(file.origin, Stored)]
    if not stored:
        return list(content_digests([Path(file.place) for file in files]).values())
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return list(pool.map(lambda each: each[0].version(each[1]), stored))
