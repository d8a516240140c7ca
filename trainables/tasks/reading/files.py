"""Tasks in local files, one for each split: Parquet, JSON lines, CSV or TSV (text/tables.py reads them).

SOURCE/train.parquet, SOURCE/dev.csv.gz, ... or a stem, SOURCE-train.csv, SOURCE.dev.jsonl, SOURCE_test.tsv. A split may
lie in numbered pieces, as the hub keeps them: train-00000-of-00002.parquet and train-00001-of-00002.parquet, also with
a digest at the end (-00000-of-00002-0f1e2d3c4b5a6978); or in a folder of its name, train/0000.parquet.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from spaces.errors import SpecError
from trainables.tasks.reading.tables import TaskSource
from trainables.text.files import file_here
from trainables.text.splits import SPLIT_WORDS, split_of
from trainables.text.tables import ENDINGS, READERS, Columns, Table, read_table
from trainables.text.text_files import format_of

PIECE = re.compile(r"(.*)-\d+-of-(\d+)(?:-[0-9a-f]{16})?")
"""(name, how many) of a file that holds one piece of a split."""


def read_files(source: TaskSource, parts: Collection[str] = ()) -> dict[str, Table]:
    """The table of each split that has a file, and of other parts by their names."""
    return {split: read_pieces(source, split, files) for split, files in split_files(source, parts).items()}


def read_pieces(source: TaskSource, split: str, files: Sequence[Path]) -> Table:
    """One split. Raises SpecError where its pieces have not the same columns or class names."""
    first, *others = tables = [read_table(file_here(file)) for file in files]
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
        own, ending = format_of(file.name)
        name = own.removeprefix(prefix)  # with a mark before it where there is a prefix
        if file.name.startswith(".") or (prefix and (name == own or name[:1] not in tuple("-._"))):
            continue
        name = name.lstrip("-._")
        inside = pieces_inside(file)
        if not inside and (ending not in READERS or not file.is_file()):
            unused += [file.name] if file.is_file() and split_of(name.partition(".")[0]) else []
            continue
        numbered = PIECE.fullmatch(name)
        piece: tuple[str, ...] = (numbered[1], numbered[2], ending) if numbered else ()
        name = numbered[1] if numbered else name
        split = name if name in parts else split_of(name)
        if split is None:
            unused.append(file.name)
        elif split in found and (not piece or pieces[split] != piece):
            raise SpecError([f"task {source.task!r}: {found[split][0]} and {file} both hold the split {split!r}"])
        else:
            found.setdefault(split, []).extend(inside or [file])
            pieces[split] = piece
    if not found:
        raise SpecError([f"task {source.task!r}: {nothing_found(stem, unused)}"])
    if problems := [
        f"{source.place(split)}: {len(found[split])} of its {int(piece[1])} pieces are there"
        for split, piece in pieces.items()
        if piece and len(found[split]) != int(piece[1])
    ]:
        raise SpecError(problems)
    if unused:
        source.say(f"task {source.task}: files that are not used: {', '.join(unused)}")
    return {split: found[split] for split in (*SPLIT_WORDS, *parts) if split in found}


def pieces_inside(folder: Path) -> list[Path]:
    """The files of a folder that is called like a split: all of them are the split."""
    if not folder.is_dir() or split_of(folder.name) is None:
        return []
    return [file for file in sorted(folder.iterdir()) if format_of(file.name)[1] in READERS and file.name[0] != "."]


def nothing_found(stem: Path, unused: Sequence[str]) -> str:
    """That no file of a split is there, and what is there instead."""
    if stem.is_file():
        return f"{stem} is one file: call it train{stem.suffix} and give its folder, or give its name without the split"
    where = f"{stem}/train" if stem.is_dir() else f"{stem}/train or {stem}-train"
    problem = f"no file {where} ending in {ENDINGS}"
    inner = next((file for file in sorted(stem.glob("*/*")) if PIECE.fullmatch(format_of(file.name)[0])), None)
    if inner is not None:
        return f"{problem}; there is {inner}: give that folder"
    return f"{problem}; there is {', '.join(unused[:3])}" if unused else problem
