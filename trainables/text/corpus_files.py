"""The files of a corpus, and what each is used for."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from spaces.errors import SpecError, StillhouseError
from spaces.records.data import PARTS
from trainables.text.file_texts import TEXTS
from trainables.text.files import File, files_at, is_elsewhere
from trainables.text.splits import split_of
from trainables.text.text_files import COMPRESSED, format_of


def corpus_files(source: str) -> dict[str, list[File]]:
    """train | held_out | test | unused -> the files of a file or folder, sorted; of a single file, that trains.

    Raises SpecError without a file of text.
    """
    try:
        every = files_at(source)
    except StillhouseError as error:
        raise SpecError([f"[corpus] source {source!r}: {error}"]) from error
    if every is None:
        hint = "'docs' needs no files, the hub is 'hub:owner/name'"
        what = "bucket, folder or object" if is_elsewhere(source) else f"file or folder; {hint}"
        raise SpecError([f"[corpus] source {source!r}: no such {what}"])
    found: dict[str, list[File]] = {part: [] for part in PARTS}
    for file in every:
        readable = format_of(file.name)[1] in TEXTS
        found[part_of(file.inner) if readable else "unused"].append(file)
    files = [file for part, each in found.items() if part != "unused" for file in each]
    if not files:
        endings = f"{', '.join(TEXTS)}; text also with {' or '.join(COMPRESSED)}"
        raise SpecError([f"[corpus] source {source!r}: expected files ending in {endings}"])
    return {**found, "train": files, "held_out": [], "test": []} if len(files) == 1 else found


def part_of(inner: PurePath) -> str:
    """train | held_out | test, by its folders below the source or its name: test/0.txt, wiki.valid.txt.

    The outermost folder that says something decides; what says nothing trains.
    """
    names = (*inner.parent.parts, format_of(inner.name)[0])
    return next(filter(None, map(part_named, names)), "train")


def part_named(name: str) -> str | None:
    """What a word in a name says of the part; None where no word does, or two say different things."""
    words = re.findall("[a-z]+", name.lower())
    if ("held" in words and "out" in words) or "heldout" in words:
        return "held_out"
    splits = {split for split in map(split_of, words) if split is not None}
    return {"dev": "held_out"}.get(split := splits.pop(), split) if len(splits) == 1 else None


def names_of(parts: Mapping[str, Sequence[File]]) -> dict[str, tuple[str, ...]]:
    """The names of the files of each part, below the source."""
    return {part: tuple(str(file.inner) for file in files) for part, files in parts.items() if files}
