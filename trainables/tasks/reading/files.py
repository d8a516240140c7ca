"""Tasks in files, one for each split: Parquet, JSON lines, CSV or TSV (text/tables.py reads them).

They lie in a folder here or in an object store.

SOURCE/train.parquet, SOURCE/dev.csv.gz, ... or a stem, SOURCE-train.csv, SOURCE.dev.jsonl, SOURCE_test.tsv. A split may
lie in numbered pieces, as the hub keeps them: train-00000-of-00002.parquet and train-00001-of-00002.parquet, also with
a digest at the end (-00000-of-00002-0f1e2d3c4b5a6978); or in a folder of its name, train/0000.parquet.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath

from spaces.errors import SpecError
from trainables.tasks.reading.tables import TaskSource
from trainables.text.files import File, files_at
from trainables.text.folders import Folder, folder_at
from trainables.text.splits import SPLIT_WORDS, split_of
from trainables.text.tables import ENDINGS, READERS, Columns, Table, read_table
from trainables.text.text_files import format_of

PIECE = re.compile(r"(.*)-\d+-of-(\d+)(?:-[0-9a-f]{16})?")
"""(name, how many) of a file that holds one piece of a split."""
LOOKED_INTO = 20
"""Folders in which pieces are looked for that are not where they should be."""


def read_files(source: TaskSource, parts: Collection[str] = ()) -> dict[str, Table]:
    """The table of each split that has a file, and of other parts by their names."""
    return {split: read_pieces(source, split, files) for split, files in split_files(source, parts).items()}


def read_pieces(source: TaskSource, split: str, files: Sequence[File]) -> Table:
    """One split. Raises SpecError where its pieces have not the same columns or class names."""
    first, *others = tables = [read_table(file) for file in files]
    for file, other in zip(files[1:], others, strict=True):
        if other.columns.keys() != first.columns.keys() or other.class_names != first.class_names:
            problem = f"{file} has not the columns, or not the class names, of {files[0].name}"
            raise SpecError([f"{source.place(split)}: {problem}"])
    joined = Columns(first.columns, lambda name: [value for each in tables for value in each.columns[name]])
    return replace(first, columns=joined) if others else first


def split_files(source: TaskSource, parts: Collection[str] = ()) -> dict[str, list[File]]:
    """The file of each split that exists, or its pieces in their order, and of other parts by their names."""
    stem = folder_at(source.address)
    folder, prefix = (stem, "") if stem.exists() else (stem.parent, stem.name)
    found: dict[str, list[File]] = {}
    pieces: dict[str, tuple[str, ...]] = {}  # name, how many pieces and ending; nothing where there is one file
    unused: list[str] = []
    for called, files, is_folder in entries(folder, with_folders=not prefix) if folder.exists() else ():
        own, ending = format_of(called)
        name = own.removeprefix(prefix)  # with a mark before it where there is a prefix
        if prefix and (name == own or name[:1] not in tuple("-._")):
            continue
        name = name.lstrip("-._")
        if not is_folder and ending not in READERS:
            unused += [called] if split_of(name.partition(".")[0]) else []
            continue
        numbered = PIECE.fullmatch(name)
        piece: tuple[str, ...] = (numbered[1], numbered[2], ending) if numbered else ()
        name = numbered[1] if numbered else name
        split = name if name in parts else split_of(name)
        if split is None:
            unused.append(called)
        elif split in found and (not piece or pieces[split] != piece):
            raise SpecError([f"task {source.task!r}: {found[split][0]} and {files[0]} both hold the split {split!r}"])
        else:
            found.setdefault(split, []).extend(files)
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


def entries(folder: Folder, *, with_folders: bool) -> list[tuple[str, list[File], bool]]:
    """(name, itself, False) of each file, (name, its files, True) of each folder that is called like a split."""
    found = [(file.name, [file], False) for file in folder.files()]
    for each in folder.folders() if with_folders else ():
        inside = [file for file in each.files() if format_of(file.name)[1] in READERS] if split_of(each.name) else []
        found += [(each.name, inside, True)] if inside else []
    return sorted(found, key=lambda entry: entry[0])


def nothing_found(stem: Folder, unused: Sequence[str]) -> str:
    """That no file of a split is there, and what is there instead."""
    is_folder = stem.exists()
    if not is_folder and (single := files_at(stem.place)):
        (file,) = single
        ending = PurePosixPath(file.name).suffix
        return f"{file} is one file: call it train{ending} and give its folder, or give its name without the split"
    if stem.stored and not is_folder and not stem.parent.exists():
        return f"no such bucket or folder: {stem.place}"
    where = f"{stem.place}/train" if is_folder else f"{stem.place}/train or {stem.place}-train"
    problem = f"no file {where} ending in {ENDINGS}"
    inner = [file for each in islice(stem.folders(), LOOKED_INTO) for file in each.files()] if is_folder else []
    if pieces := [file for file in inner if PIECE.fullmatch(format_of(file.name)[0])]:
        return f"{problem}; there is {pieces[0]}: give that folder"
    return f"{problem}; there is {', '.join(unused[:3])}" if unused else problem
