"""Where prepared data lives, and how a folder of it comes into being: whole or not at all.

Everything in the cache is keyed by its content, so that it never has to be invalidated, only deleted.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """$STILLHOUSE_CACHE, else stillhouse under $XDG_CACHE_HOME, else ~/.cache/stillhouse."""
    if own := os.environ.get("STILLHOUSE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillhouse"


def digest(*parts: object) -> str:
    """16 hex digits over the text of the parts; parts that could run together are kept apart."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part if isinstance(part, bytes) else str(part).encode())
        hasher.update(b"\x00")
    return hasher.hexdigest()[:16]


def digest_files(paths: list[Path]) -> str:
    """16 hex digits over the names and contents of files."""
    hasher = hashlib.sha256()
    for path in sorted(paths):
        hasher.update(path.name.encode())
        with path.open("rb") as file:
            hasher.update(hashlib.file_digest(file, "sha256").digest())
    return hasher.hexdigest()[:16]


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary sibling of `target` to fill; it becomes `target` when the block ends without an error.

    Two processes may prepare the same content at once: the first one wins, the other's copy is dropped.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    unfinished.chmod(0o755)
    try:
        yield unfinished
        try:
            unfinished.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def cached_value(folder: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The value of a cache folder, computed when there is none."""
    if not folder.is_dir():
        store_value(folder, compute())
    return json.loads((folder / "value.json").read_text())


def store_value(folder: Path, value: Mapping[str, Any]) -> None:
    """Write the value of a cache folder."""
    with new_folder(folder) as unfinished:
        (unfinished / "value.json").write_text(json.dumps(value))
