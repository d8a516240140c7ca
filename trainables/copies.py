"""The cache of nodes that share no disk: what one of them has made goes home, what another reads is copied to it once.

$STILLHOUSE_CACHE is then a URI (s3://bucket/stillhouse), and every node has a folder of its own. What trials read is
named in their jobs by its place in any cache, "cache:corpora/KEY". Copies take at most $STILLHOUSE_LOCAL_GB; those
unused for longest go first, and none that a process reads. With a cache on a disk that all nodes see nothing is copied.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from spaces.errors import StillhouseError
from trainables.cache import cache_folder, digest_files, new_file, new_folder, read_value, store_value
from trainables.home import (
    FileRecord,
    FolderRecord,
    get_file,
    get_folder,
    put_file,
    put_folder,
    record_of,
    write_record,
)

READ = ("corpora", "tasks", "targets", "teachers")
"""Folders of the cache that go home for the trials that read them."""
VALUES = ("removal", "scores")
"""Those that go home because it takes long to find what is in them: small, and never deleted."""
PREFIX = "cache:"
LOCAL_GB = 50.0
GB = 1e9


def home() -> str | None:
    """The URI at which the cache of all nodes is kept; None where they share a disk."""
    own = os.environ.get("STILLHOUSE_CACHE", "")
    return own.rstrip("/") if "://" in own else None


def silent_home() -> Iterator[str]:
    """Why nothing can be kept at the home, if so, and what is wrong with the settings beside it."""
    try:
        local_bytes()
        if (base := home()) is not None:
            write_record(f"{base}/writable", FolderRecord({}))
    except StillhouseError as error:
        yield str(error)


def uri_of(path: Path) -> str | None:
    """Where a file or folder of the cache is kept at home; None for what stays on its node."""
    base, folder = home(), cache_folder()
    if base is None or not path.is_relative_to(folder):
        return None
    place = path.relative_to(folder)
    return f"{base}/{place.as_posix()}" if place.parts[0] in READ + VALUES else None


def name_of(folder: Path) -> str:
    """How a job names a folder: one of the cache by its place in any cache, another by its path."""
    if not folder.is_relative_to(cache_folder()):
        return str(folder)
    return f"{PREFIX}{folder.relative_to(cache_folder()).as_posix()}"


def shared(folder: Path | str) -> str:
    """The same; one of the cache goes home first."""
    path = Path(folder)
    if (uri := uri_of(path)) is not None:
        put_folder(path, uri)
        is_held(path)
    return name_of(path)


def shared_file(path: Path) -> None:
    """The same of one file of a folder that no node has as a whole."""
    if (uri := uri_of(path)) is not None:
        put_file(path, uri)


def shared_files(folder: Path, files: Sequence[Path]) -> str:
    """How a job names a folder of a model that is no part of the cache, of which these files go home."""
    place = f"teachers/{digest_files(list(files))}/{folder.name}"
    put_folder(folder, f"{home()}/{place}", files)
    return f"{PREFIX}{place}"


def place_of(name: str) -> Path:
    """The folder on this node that a job names, whether it is there or not."""
    return cache_folder() / name.removeprefix(PREFIX) if name.startswith(PREFIX) else Path(name)


def at_hand(name: str) -> Path:
    """The folder on this node that a job names; copied from home where it is missing.

    Raises StillhouseError where it is neither here nor at home.
    """
    folder = place_of(name)
    if name.startswith(PREFIX) and not is_kept(folder):
        raise StillhouseError(
            f"the cache of this node has no {name.removeprefix(PREFIX)}: STILLHOUSE_CACHE must be a folder that all "
            f"nodes share, or the URI of an object store; here it is {home() or cache_folder()}"
        )
    return folder


def is_kept(folder: Path) -> bool:
    """Whether a folder of the cache is here; one that only the home has is copied first, by one process of the node."""
    uri = uri_of(folder)
    if uri is None:
        return folder.is_dir()
    with one_at_a_time(folder):
        while not (folder.is_dir() and is_held(folder)):
            record = record_of(uri, FolderRecord)
            if record is None:
                return False
            make_room(record.size_bytes)
            with new_folder(folder) as unfinished, locked(unfinished):
                get_folder(uri, unfinished, record)
    return True


def file_at_hand(path: Path) -> Path:
    """The same for one file of the cache, such as a shard of targets, of which a node reads only some."""
    uri = uri_of(path)
    if uri is None:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    while not is_held(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        with one_at_a_time(path):
            if not path.is_file() and (record := record_of(uri, FileRecord)) is not None:
                make_room(record.size_bytes)
                with new_file(path) as unfinished:
                    get_file(uri, unfinished, record)
    return path


def is_home(path: Path) -> bool:
    """Whether the home has a file, if there is one."""
    uri = uri_of(path)
    return uri is not None and record_of(uri, FileRecord) is not None


def cached_value(folder: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The value of a cache folder, computed when there is none here and at home."""
    if not is_kept(folder):
        store_value(folder, compute())
        shared(folder)
    return read_value(folder)


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Processes of a node that want the same copy wait for the first."""
    lock = cache_folder() / "locks" / path.relative_to(cache_folder()).as_posix().replace("/", "-")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Keep what this process reads from being deleted, for as long as it lives; when it was used is noted.

    False when another process has just deleted it.
    """
    kind, key = path.relative_to(cache_folder()).parts[:2]
    try:
        if kind in READ:
            lock_for_life(cache_folder() / kind / key)
    except FileNotFoundError:
        return False
    return True


@cache
def lock_for_life(folder: Path) -> int:
    """The descriptor of a lock that is never given back. Raises FileNotFoundError for a folder that is gone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.utime(folder)
        if not os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            raise FileNotFoundError(folder)
    except FileNotFoundError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def locked(folder: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Hold a cache folder that is used, or, exclusively, one that is to go (BlockingIOError when it is used)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def make_room(wanted_bytes: int) -> None:
    """Delete what is unused for longest, until `wanted_bytes` more fit; what is read or being copied stays."""
    with one_at_a_time(cache_folder() / "room"):
        folders = [path for kind in READ for path in (cache_folder() / kind).glob("*")]
        found = sorted((*used(path), path) for path in folders)
        left = local_bytes() - wanted_bytes - sum(size for _, size, _ in found)
        for _, size, path in found:
            if left >= 0:
                return
            with contextlib.suppress(BlockingIOError, FileNotFoundError), locked(path, exclusive=True):
                shutil.rmtree(path, ignore_errors=True)
                left += size


def used(folder: Path) -> tuple[float, int]:
    """(when a folder was used last, its bytes); zeros for what has gone, as a copy does that is whole by now."""
    size = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += os.stat(os.path.join(base, name)).st_size
    try:
        return folder.stat().st_mtime, size
    except FileNotFoundError:
        return 0.0, 0


def local_bytes() -> int:
    """What copies may take on a node. Raises StillhouseError for a setting that is no number."""
    text = os.environ.get("STILLHOUSE_LOCAL_GB", str(LOCAL_GB))
    try:
        return int(float(text) * GB)
    except ValueError:
        raise StillhouseError(f"STILLHOUSE_LOCAL_GB is {text!r}; it is a number of gigabytes, such as 50") from None
