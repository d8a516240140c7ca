"""The files of a corpus, and what each is used for."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from spaces.errors import SpecError
from spaces.records.data import PARTS
from trainables.text.file_texts import TEXTS
from trainables.text.splits import split_of
from trainables.text.text_files import COMPRESSED, format_of


def corpus_files(source: str) -> dict[str, list[Path]]:
    """train | held_out | test | unused -> the files of a file or folder, sorted; of a single file, that trains.

    Raises SpecError without a file of text.
    """
    root = Path(source).expanduser()
    if not root.exists():
        raise SpecError(
            [f"[corpus] source {source!r}: no such file or folder; 'docs' needs no files, the hub is 'hub:owner/name'"]
        )
    found: dict[str, list[Path]] = {part: [] for part in PARTS}
    for path in sorted(files_below(root)) if root.is_dir() else [root]:
        readable = format_of(path)[1] in TEXTS
        found[part_of(path, root) if readable else "unused"].append(path)
    files = [path for part, paths in found.items() if part != "unused" for path in paths]
    if not files:
        endings = f"{', '.join(TEXTS)}; text also with {' or '.join(COMPRESSED)}"
        raise SpecError([f"[corpus] source {source!r}: expected files ending in {endings}"])
    return {**found, "train": files, "held_out": [], "test": []} if len(files) == 1 else found


def files_below(root: Path) -> Iterator[Path]:
    """All files of a folder and of folders in it, linked ones too, each folder once.

    Names that begin with a dot, of files and of folders, are passed over.
    """
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link may lead back to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith(".") and Path(place, name).is_file())


def part_of(path: Path, root: Path) -> str:
    """train | held_out | test, by its folders below the root or its name: test/0.txt, wiki.valid.txt.

    The outermost folder that says something decides; what says nothing trains.
    """
    names = (*path.relative_to(root).parent.parts, format_of(path)[0])
    return next(filter(None, map(part_named, names)), "train")


def part_named(name: str) -> str | None:
    """What a word in a name says of the part; None where no word does, or two say different things."""
    words = re.findall("[a-z]+", name.lower())
    if ("held" in words and "out" in words) or "heldout" in words:
        return "held_out"
    splits = {split for split in map(split_of, words) if split is not None}
    return {"dev": "held_out"}.get(split := splits.pop(), split) if len(splits) == 1 else None


def names_of(parts: Mapping[str, Sequence[Path]], source: str) -> dict[str, tuple[str, ...]]:
    """The names of the files of each part, below the source."""
    root = Path(source).expanduser()
    return {
        part: tuple(str(path.relative_to(root)) if path != root else path.name for path in paths)
        for part, paths in parts.items()
        if paths
    }
