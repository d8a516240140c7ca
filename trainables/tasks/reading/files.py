"""Tasks in local files, one for each split: Parquet, JSON lines, CSV or TSV (text/tables.py reads them).

SOURCE/train.parquet, SOURCE/dev.csv.gz, ... or a stem, SOURCE-train.csv, SOURCE.dev.jsonl, SOURCE_test.tsv. A split may
lie in numbered pieces, as the hub keeps them: train-00000-of-00002.parquet and train-00001-of-00002.parquet.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from spaces.errors import SpecError
from trainables.tasks.reading.tables import TaskSource
from trainables.text.splits import SPLIT_WORDS, split_of
from trainables.text.tables import ENDINGS, READERS, Columns, Table, format_of, read_table

PIECE = re.compile(r"(.*)-\d+-of-(\d+)")
"""(name, how many) of a file that holds one piece of a split."""


def read_files(source: TaskSource, parts: Collection[str] = ()) -> dict[str, Table]:
    """The table of each split that has a file, and of other parts by their names."""
    return {split: read_pieces(source, split, files) for split, files in split_files(source, parts).items()}


def read_pieces(source: TaskSource, split: str, files: Sequence[Path]) -> Table:
    """One split. Raises SpecError where its pieces have not the same columns or class names."""
    first, *others = tables = [read_table(file) for file in files]
    for file, other in zip(files[1:], others, strict=True):
        if other.columns.keys() != first.columns.keys() or other.class_names != first.class_names:
            problem = f"{file} has not the columns, or not the class names, of {files[0].name}"
            raise SpecError([f"{source.place(split)}: {problem}"])
    joined = Columns(first.columns, lambda name: [value for each in tables for value in each.columns[name]])
    return replace(first, columns=joined) if others else first


def split_files(source: TaskSource, parts: Collection[str] = ()) -> dict[str, list[Path]]:
    """The file of each split that exists, or its pieces in their order, and of other parts by their names."""
    stem = Path(source.address).expanduser()
    folder, prefix = (stem, "") if stem.is_dir() else (stem.parent, stem.name)
    found: dict[str, list[Path]] = {}
    pieces: dict[str, tuple[str, ...]] = {}  # name, how many pieces and ending; nothing where there is one file
    unused: list[str] = []
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        own, ending = format_of(file)
        name = own.removeprefix(prefix)  # with a mark before it where there is a prefix
        if ending not in READERS or file.name.startswith(".") or not file.is_file():
            continue
        if prefix and (name == own or name[:1] not in tuple("-._")):
            continue
        name = name.lstrip("-._")
        numbered = PIECE.fullmatch(name)
        piece: tuple[str, ...] = (numbered[1], numbered[2], ending) if numbered else ()
        name = numbered[1] if numbered else name
        split = name if name in parts else split_of(name)
        if split is None:
            unused.append(file.name)
        elif split in found and (not piece or pieces[split] != piece):
            raise SpecError([f"task {source.task!r}: {found[split][0]} and {file} both hold the split {split!r}"])
        else:
            found.setdefault(split, []).append(file)
            pieces[split] = piece
    if not found:
        where = f"{stem}/train" if stem.is_dir() else f"{stem}/train or {stem}-train"
        raise SpecError([f"task {source.task!r}: no file {where} ending in {ENDINGS}"])
    if problems := [
        f"{source.place(split)}: {len(found[split])} of its {int(piece[1])} pieces are there"
        for split, piece in pieces.items()
        if piece and len(found[split]) != int(piece[1])
    ]:
        raise SpecError(problems)
    if unused:
        source.say(f"task {source.task}: files that are not used: {', '.join(unused)}")
    return {split: found[split] for split in (*SPLIT_WORDS, *parts) if split in found}
