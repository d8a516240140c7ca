"""Folders and files at the home of a cache, for nodes that share no disk: put there whole, copied from there whole.

The home is a URI (s3://, gs://, file://). Beside each file of it stands a record, FILE.sum, with its size and SHA-256;
it is written after the file, so that a file with a record is whole. A folder has a record too, which lists its files
and is written last. What is copied is compared with its record. Nothing at the home is ever changed, for all of it is
named by its content; it is deleted by whoever owns the bucket.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from spaces.errors import StillhouseError
from spaces.records.filesystems import make_parent, open_filesystem, read_text, said_by
from spaces.values import from_json, to_json

RECORD = ".sum"
"""Ends the name of the record of a file or a folder."""
PART_BYTES = 16 * 2**20
"""Of a file that are in memory at a time."""
ATTEMPTS = 2
"""A copy that is not what its record says is fetched once more."""


@dataclass(frozen=True)
class FileRecord:
    """Of a file that is whole."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class FolderRecord:
    """Of a folder that is whole."""

    files: Mapping[str, FileRecord]
    """By their paths in it."""

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(each.size_bytes for each in self.files.values())


T = TypeVar("T", FileRecord, FolderRecord)


def record_of(uri: str, kind: type[T]) -> T | None:
    """What is said of a whole file or folder; None where there is none, or one that is not whole."""
    with answering(uri):
        filesystem, path = open_filesystem(uri)
        text = read_text(filesystem, path + RECORD)
    return None if text is None else from_json(kind, text)


def put_file(file: Path, uri: str) -> FileRecord:
    """Upload a file; its record. One that is there already stays as it is."""
    if known := record_of(uri, FileRecord):
        return known
    sha256, size = hashlib.sha256(), 0
    with answering(uri):
        filesystem, path = open_filesystem(uri)
        make_parent(filesystem, path)
        with file.open("rb") as source, filesystem.open_output_stream(path) as target:
            while part := source.read(PART_BYTES):
                sha256.update(part)
                size += len(part)
                target.write(part)
    record = FileRecord(size, sha256.hexdigest())
    write_record(uri, record)
    return record


def put_folder(folder: Path, uri: str, files: Sequence[Path] | None = None) -> None:
    """Upload a folder: the given files of it, or all that is below. One that is there already stays as it is."""
    if record_of(uri, FolderRecord):
        return
    found = files if files is not None else sorted(path for path in folder.rglob("*") if path.is_file())
    records = {(name := path.relative_to(folder).as_posix()): put_file(path, f"{uri}/{name}") for path in found}
    write_record(uri, FolderRecord(records))


def get_file(uri: str, target: Path, record: FileRecord) -> None:
    """Copy a file from the home. Raises StillhouseError for one that is not what its record says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(ATTEMPTS):
        sha256 = hashlib.sha256()
        with answering(uri):
            filesystem, path = open_filesystem(uri)
            with filesystem.open_input_stream(path) as source, target.open("wb") as file:
                while part := source.read(PART_BYTES):
                    sha256.update(part)
                    file.write(part)
        if sha256.hexdigest() == record.sha256:
            return
    target.unlink()
    raise StillhouseError(f"{uri} is damaged: its bytes are not those that were written; delete it and its {RECORD}")


def get_folder(uri: str, target: Path, record: FolderRecord) -> None:
    """Copy a folder from the home into `target`, which is there and empty."""
    for name, each in record.files.items():
        get_file(f"{uri}/{name}", target / name, each)


def write_record(uri: str, record: FileRecord | FolderRecord) -> None:
    """Say that a file or folder is whole."""
    with answering(uri):
        filesystem, path = open_filesystem(uri)
        make_parent(filesystem, path)
        with filesystem.open_output_stream(path + RECORD) as file:
            file.write(to_json(record).encode())


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """What a store says when it refuses, as one line for a person."""
    try:
        yield
    except OSError as error:
        rule = f"the home of the cache does not answer at {uri} (STILLHOUSE_CACHE)"
        raise StillhouseError(f"{rule}: {said_by(error)}") from error
