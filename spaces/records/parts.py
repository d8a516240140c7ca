"""The Parquet files of a dataset: which there are, which of their rows count, and how they are read.

`part-00012.parquet` has the rows of trial 12, `pack-00000-00255.parquet` those of many trials. A trial that has a part
of its own is read from there, whatever a pack says of it: so a pack is written first and its parts are deleted after,
and whoever reads meanwhile sees each row once. Files are written whole, on a disk under a name that begins with '.' or
ends with '.tmp', which is passed over. The folder may lie on an object store (`s3://bucket/study`). What cannot be read
is an error that names the file: a damaged one must never look like a smaller study.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from spaces.errors import StillhouseError
from spaces.records.filesystems import read_object, read_parquet
from spaces.records.schemas import Column, conformed, schema

PART = re.compile(r"part-(-?\d+)\.parquet")
PACK = re.compile(r"pack-(\d+)-(\d+)\.parquet")
READERS = 8
LOOKS = 10
Kept = dict[tuple[str, int, int | None], pa.Table]
"""Files that were read before, by path, size and time of writing: a watcher reads only what is new."""


class DamagedFile(StillhouseError):
    """A file of a study that cannot be read."""


@dataclass(frozen=True)
class Files:
    """What a dataset consists of at one moment."""

    parts: tuple[pafs.FileInfo, ...]
    """In the order of their numbers; files with other names are taken as they are, after them."""
    packs: tuple[pafs.FileInfo, ...]

    @property
    def by_number(self) -> dict[int, pafs.FileInfo]:
        """The parts of single trials."""
        return {number: info for info in self.parts if (number := number_of(info)) is not None}

    def of(self, trials: Collection[int]) -> "Files":
        """The files that may have rows of these trials."""
        packs = (info for info in self.packs if any(trial in span_of(info) for trial in trials))
        return Files(tuple(info for info in self.parts if number_of(info) in trials), tuple(packs))


def part_name(number: int) -> str:
    """The file of one trial."""
    return f"part-{number:05d}.parquet"


def pack_name(span: range) -> str:
    """The file of many trials."""
    return f"pack-{span.start:05d}-{span.stop - 1:05d}.parquet"


def number_of(info: pafs.FileInfo) -> int | None:
    """The trial of a part; None for a file of another name."""
    found = PART.fullmatch(info.base_name)
    return int(found[1]) if found else None


def span_of(info: pafs.FileInfo) -> range:
    """The trials that a pack may have rows of."""
    first, last = map(int, PACK.fullmatch(info.base_name).groups())  # type: ignore[union-attr]
    return range(first, last + 1)


def dataset_files(filesystem: pafs.FileSystem, folder: str) -> Files:
    """The files of a dataset; an absent folder has none.

    Two listings, the first for the parts: where it misses one that was deleted for a pack, that pack was there before
    the second began.
    """
    parts = [info for info in _listed(filesystem, folder) if not PACK.fullmatch(info.base_name)]
    packs = [info for info in _listed(filesystem, folder) if PACK.fullmatch(info.base_name)]
    return Files(tuple(sorted(parts, key=_place)), tuple(sorted(packs, key=lambda info: span_of(info).start)))


def key_of(info: pafs.FileInfo) -> tuple[str, int, int | None]:
    """What changes when a file is replaced."""
    return info.path, info.size, info.mtime_ns


def numbers_in(filesystem: pafs.FileSystem, folder: str) -> set[int]:
    """The trials that have rows in a dataset."""
    files = dataset_files(filesystem, folder)
    packed = (read_file(filesystem, info.path)["trial"].unique().to_pylist() for info in files.packs)
    return set(files.by_number).union(*packed)


def read_dataset(
    filesystem: pafs.FileSystem,
    folder: str,
    columns: Sequence[Column],
    kept: Kept | None = None,
    trials: Collection[int] | None = None,
) -> pa.Table:
    """The rows of a dataset as one table with exactly `columns` (`conformed`), in the order of trials.

    Files in `kept` are not read again, and what is read goes there. trials: files without rows of these are left out.
    Raises StillhouseError for the first file that is damaged or does not fit.
    """
    kept = {} if kept is None else kept
    for look in range(LOOKS):
        files = dataset_files(filesystem, folder)
        files = files if trials is None else files.of(trials)
        try:
            _fetch(filesystem, (*files.packs, *files.parts), columns, kept)
            break
        except FileNotFoundError as error:  # deleted since it was listed: its rows are in a pack
            if look == LOOKS - 1:
                raise _damaged(str(error), error) from error
    tables = [kept[key_of(info)] for info in files.parts]
    if not files.packs:
        return pa.concat_tables(tables) if tables else schema(columns).empty_table()
    own = files.by_number
    packs = [without(kept[key_of(info)], own.keys() & set(span_of(info))) for info in files.packs]
    return in_order(pa.concat_tables([*packs, *tables]))


def without(table: pa.Table, trials: Collection[int]) -> pa.Table:
    """The rows of other trials."""
    if not trials:
        return table
    return table.filter(pc.invert(pc.is_in(table["trial"], pa.array(sorted(trials), pa.int64()))))


def in_order(table: pa.Table) -> pa.Table:
    """The rows by trial; those of one trial stay in their order."""
    trials = table["trial"]
    if pc.all(pc.less_equal(trials[:-1], trials[1:])).as_py() is not False:
        return table
    return table.take(pc.sort_indices(table, sort_keys=[("trial", "ascending")]))  # a stable order


def read_file(filesystem: pafs.FileSystem, path: str, data: pa.Buffer | None = None) -> pa.Table:
    """All columns of one file. Raises FileNotFoundError, DamagedFile."""
    try:
        return read_parquet(filesystem, path, data)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _damaged(path, error) from error


def _fetch(filesystem: pafs.FileSystem, files: Iterable[pafs.FileInfo], columns: Sequence[Column], kept: Kept) -> None:
    """Put into `kept` what is not there yet."""
    missing = [info for info in files if key_of(info) not in kept]

    def read(info: pafs.FileInfo) -> pa.Buffer:
        try:
            return read_object(filesystem, info.path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _damaged(info.path, error) from error

    with ThreadPoolExecutor(READERS) as readers:  # waiting for a store overlaps; parsing holds the interpreter anyway
        for info, data in zip(missing, readers.map(read, missing), strict=True):
            kept[key_of(info)] = conformed(read_file(filesystem, info.path, data), columns, info.path)


def _damaged(path: str, error: Exception) -> DamagedFile:
    return DamagedFile(
        f"{path} is damaged and cannot be read ({str(error).splitlines()[0]}). Restore it from a copy, or set it aside "
        f"(mv {path} {path}.damaged): only the rows in it are lost."
    )


def _listed(filesystem: pafs.FileSystem, folder: str) -> list[pafs.FileInfo]:
    """The files that are whole."""
    found = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    names = (info for info in found if info.type == pafs.FileType.File and not info.base_name.startswith("."))
    return [info for info in names if info.base_name.endswith(".parquet")]


def _place(info: pafs.FileInfo) -> tuple[bool, int, str]:
    number = number_of(info)
    return number is None, number or 0, info.path
