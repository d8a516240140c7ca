"""Where prepared data lives, and how a folder or a file comes into being: whole or not at all, and as the umask says.

Everything in the cache is keyed by its content, so that it never has to be invalidated, only deleted. What nodes
do that share no disk is in copies.py.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spaces.errors import StillhouseError

LARGE_BYTES = 2**20
"""Smaller files are read as quickly as they are looked up."""
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
"""What a place that takes no folder answers with."""
INSTEAD = "set STILLHOUSE_CACHE to a folder that can be written to, and HF_HOME as well where anything is of the hub"
SETTLED_S = 2.0
"""A file that changed this recently may change again at what its file system calls the same time."""


def cache_folder() -> Path:
    """$STILLHOUSE_CACHE, else stillhouse under $XDG_CACHE_HOME, else ~/.cache/stillhouse.

    Where $STILLHOUSE_CACHE is the URI of a home for nodes that share no disk: $STILLHOUSE_LOCAL_CACHE in its place.
    """
    own = os.environ.get("STILLHOUSE_CACHE")
    if own and "://" in own:
        own = os.environ.get("STILLHOUSE_LOCAL_CACHE")
    if own:
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillhouse"
    except RuntimeError:
        raise StillhouseError(f"there is no home folder for the cache: {INSTEAD}") from None


def unwritable_cache() -> Iterator[str]:
    """Why nothing can be kept in the cache, if so."""
    folder = cache_folder()
    places = (folder, *folder.absolute().parents)
    there = next(each for each in places if os.path.exists(each))  # False for what lies in a folder closed to us
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield unwritable("no permission" if there.is_dir() else f"{there} is no folder")


def unwritable(why: str) -> str:
    """What is told of a cache that takes nothing."""
    return f"the cache {cache_folder()} cannot be written to ({why}): {INSTEAD}"


def digest(*parts: object) -> str:
    """16 hex digits over the text of the parts; parts that could run together are kept apart.

    Raises TypeError for an array: its text leaves out what stands in the middle.
    """
    hasher = hashlib.sha256()
    for part in parts:
        if getattr(part, "ndim", 0):
            raise TypeError("an array is no part of a digest; give its bytes, or a list")
        hasher.update(part if isinstance(part, bytes) else str(part).encode())
        hasher.update(b"\x00")
    return hasher.hexdigest()[:16]


def digest_files(paths: list[Path]) -> str:
    """16 hex digits over the names and contents of files."""
    hasher = hashlib.sha256()
    for path, found in content_digests(sorted(paths)).items():
        hasher.update(path.name.encode())
        hasher.update(bytes.fromhex(found))
    return hasher.hexdigest()[:16]


def content_digests(paths: Sequence[Path]) -> dict[Path, str]:
    """SHA-256 of files. Many small ones are remembered together, as `content_digest` remembers a large one."""
    states = [state_of(path) for path in paths]
    known = cache_folder() / "digests" / digest("files", *states)
    if len(paths) > 1 and known.is_dir():
        return dict(zip(paths, json.loads((known / "value.json").read_text())["sha256"], strict=True))
    files = [path.stat() for path in paths]
    found = {path: content_digest(path) for path in paths}
    if len(paths) > 1:
        remember(known, files, list(found.values()))
    return found


def state_of(path: Path) -> tuple[object, ...]:
    """What is another as soon as a file is."""
    about = path.stat()
    return (path.resolve(), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def remember(known: Path, files: Sequence[os.stat_result], sha256: object) -> None:
    """Keep the digests of files that are large, and settled."""
    large = sum(about.st_size for about in files) >= LARGE_BYTES
    if large and all(time.time() - about.st_ctime > SETTLED_S for about in files):
        with suppress(OSError, StillhouseError):  # a cache that cannot be written to: `check` does without one
            store_value(known, {"sha256": sha256})


def content_digest(path: Path) -> str:
    """SHA-256 of a file. That of a large one is remembered until its place, size or time of change is another."""
    about = path.stat()
    known = cache_folder() / "digests" / digest(*state_of(path))
    if known.is_dir():
        return read_value(known)["sha256"]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    remember(known, [about], found)
    return found


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary sibling of `target` to fill; it becomes `target` when the block ends without an error.

    Two processes may prepare the same content at once: the first one wins, the other's copy is dropped.
    Whoever may read a folder made here may read all of it: safetensors writes files that only their owner can read.
    """
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
    except OSError as error:
        if target.is_relative_to(cache_folder()) and error.errno in UNWRITABLE:
            raise StillhouseError(unwritable(error.strerror or str(error))) from error
        raise
    mode = stat.S_IMODE(unfinished.stat().st_mode) & 0o666
    try:
        yield unfinished
        for path in unfinished.rglob("*"):
            if path.is_file():
                path.chmod(mode)
        try:
            unfinished.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary sibling of `target` to write; it replaces `target` when the block ends without an error.

    Its mode is that of any new file, also where the writer (safetensors) lets only the owner read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    unfinished.unlink(missing_ok=True)
    unfinished.touch()
    mode = stat.S_IMODE(unfinished.stat().st_mode)
    try:
        yield unfinished
        unfinished.chmod(mode)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def read_value(folder: Path) -> dict[str, Any]:
    """What `store_value` wrote."""
    value: dict[str, Any] = json.loads((folder / "value.json").read_text())
    return value


def store_value(folder: Path, value: Mapping[str, Any]) -> None:
    """Write the value of a cache folder."""
    with new_folder(folder) as unfinished:
        (unfinished / "value.json").write_text(json.dumps(value))
