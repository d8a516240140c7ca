"""Packs: the rows of many trials in one file, so that a study of ten thousand opens at once.

Trials are written one by one; when enough parts lie loose, those of each run of PACK_TRIALS numbers are put into a
pack (spaces/records/parts.py has the rule by which they are read). The pack is whole before the first part is deleted,
and a part that was not deleted is at least as new as the pack: so the driver may be killed at any moment, and an object
store, which renames nothing, serves as well as a disk. The driver that holds the folder is the one who packs.
"""

import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa
import pyarrow.fs as pafs

from spaces.records.parts import (
    READERS,
    DamagedFile,
    Files,
    dataset_files,
    in_order,
    pack_name,
    read_file,
    span_of,
    without,
)

LOG = logging.getLogger("stillhouse.store")
GROWING = ("asked", "trials", "reports", "decisions")
"""Datasets with parts by trial, of which there may be thousands."""
PACK_TRIALS = 256
LOOSE = 2 * PACK_TRIALS
"""So many parts of a dataset may lie loose."""
Write = Callable[[str, pa.Table], None]


class Packing:
    """Which parts of a study lie loose, for as long as a driver holds its folder."""

    def __init__(self, filesystem: pafs.FileSystem, root: str, write: Write, check: Callable[[], None]) -> None:
        self.filesystem, self.root, self.write, self.check = filesystem, root, write, check
        self.loose = {dataset: set(self._files(dataset).by_number) for dataset in GROWING}
        for dataset in GROWING:
            self._pack_many(dataset)

    def written(self, dataset: str, number: int) -> None:
        """A part has been written."""
        if dataset in self.loose:
            self.loose[dataset].add(number)
            self._pack_many(dataset)

    def rest(self) -> None:
        """Leave no trial both in a pack and in a part, which tools that read every file would count twice."""
        for dataset, loose in self.loose.items():
            packed = {_block(span_of(info).start) for info in self._files(dataset).packs}
            self._pack(dataset, {_block(number) for number in loose} & packed)

    def _pack_many(self, dataset: str) -> None:
        """Once there are many: all but the newest, which are still written to."""
        loose = self.loose[dataset]
        if len(loose) >= LOOSE:
            self._pack(dataset, {_block(number) for number in loose} - {_block(max(loose))})

    def _pack(self, dataset: str, blocks: Collection[int]) -> None:
        """One pack for each of these blocks of trials. What cannot be packed stays as it is until the next run."""
        if not blocks:
            return
        files = self._files(dataset)
        for block in sorted(blocks):
            span = range(block * PACK_TRIALS, (block + 1) * PACK_TRIALS)
            parts = {number: info for number, info in files.by_number.items() if number in span}
            try:
                table = self._together(files, span, parts)
                self.write(f"{self.root}/{dataset}/{pack_name(span)}", table)
                self._delete(parts.values())
            except (DamagedFile, pa.ArrowException, OSError) as error:
                LOG.warning("%s of trials %d to %d stay in files of their own: %s", dataset, span[0], span[-1], error)
            self.loose[dataset] -= set(span)

    def _together(self, files: Files, span: range, parts: dict[int, pafs.FileInfo]) -> pa.Table:
        """All columns, also those that this version does not know."""
        packs = [info for info in files.packs if span_of(info) == span]
        with ThreadPoolExecutor(READERS) as readers:
            read = list(readers.map(lambda info: read_file(self.filesystem, info.path), (*packs, *parts.values())))
        tables = [*(without(table, parts.keys()) for table in read[: len(packs)]), *read[len(packs) :]]
        return in_order(pa.concat_tables(tables, promote_options="default"))

    def _delete(self, parts: Collection[pafs.FileInfo]) -> None:
        def delete(info: pafs.FileInfo) -> None:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(info.path)

        self.check()
        with ThreadPoolExecutor(READERS) as deleting:
            list(deleting.map(delete, parts))

    def _files(self, dataset: str) -> Files:
        return dataset_files(self.filesystem, f"{self.root}/{dataset}")


def _block(number: int) -> int:
    return number // PACK_TRIALS
