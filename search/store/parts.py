"""The study folder on disk: Parquet parts, one file per trial, written complete or not at all.

One part per trial number (`trials/part-00012.parquet`) means that nothing is ever appended to and no writer can harm
another trial's row; those of many trials become a pack in time (packing.py). On a local disk a file is written under a
temporary name in the same folder, flushed and renamed; an object store makes an object visible only when it is whole,
so there it is one plain write and no rename is assumed.
"""

import contextlib
import errno
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from search.store.lease import Lease, file_lock, leased
from search.store.packing import Packing
from spaces.errors import StillhouseError
from spaces.records.columns import dataset_columns
from spaces.records.filesystems import folders_in, make_parent, open_filesystem
from spaces.records.meta import StudyMeta
from spaces.records.parts import DamagedFile, numbers_in, part_name, read_dataset
from spaces.records.rows import TrialRow
from spaces.records.schemas import Column, schema

LOG = logging.getLogger("stillhouse.store")
LEASE = "lease.json"
PAUSES_S = (1.0, 2.0, 4.0, 8.0, *[15.0] * 19)
"""Between the attempts to write a row while the storage does not answer; about five minutes in all."""
LASTING = {
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG
}  # fmt: skip
"""Errors that waiting does not mend."""


class Store:
    """The files of one study folder. `tasks` names the score columns of the trials rows.

    by_language: whether tasks name their language, and rows the worst of them.
    axes: columns of axes that not every study has.
    """

    def __init__(
        self,
        folder: str | Path,
        tasks: Sequence[str] = (),
        filesystem: pafs.FileSystem | None = None,
        *,
        by_language: bool = False,
        axes: Sequence[Column] = (),
    ) -> None:
        self.folder = str(folder)
        if filesystem is None:
            self.filesystem, self.root = open_filesystem(folder)
        else:
            self.filesystem, self.root = filesystem, str(folder)
        self.is_local = isinstance(self.filesystem, pafs.LocalFileSystem)
        self._lease: Lease | None = None
        self._packing: Packing | None = None
        self.tasks = tuple(tasks)
        self.columns = dataset_columns(list(tasks), by_language, axes)
        self.schemas = {name: schema(columns) for name, columns in self.columns.items()}

    @classmethod
    def of(cls, folder: str | Path) -> "Store":
        """The store of a study that exists, with the columns that its study.json names. Raises StillhouseError."""
        meta = cls(folder).read_meta()
        return cls(folder, list(meta.tasks), by_language=bool(meta.languages), axes=meta.axes)

    def path(self, *parts: str) -> str:
        return "/".join((self.root, *parts))

    def uri(self, *parts: str) -> str:
        """Where a part of the folder is, for processes that open it themselves."""
        return self.path(*parts) if self.is_local else "/".join((self.folder.rstrip("/"), *parts))

    def exists(self, *parts: str) -> bool:
        return self.filesystem.get_file_info(self.path(*parts)).type != pafs.FileType.NotFound

    def is_study(self) -> bool:
        return self.exists("spec.toml")

    def write_text(self, name: str, text: str) -> None:
        self._write_bytes(self.path(name), text.encode())

    def read_text(self, name: str) -> str:
        try:
            with self.filesystem.open_input_stream(self.path(name)) as stream:
                return stream.readall().decode()
        except FileNotFoundError:
            raise StillhouseError(f"{self.folder} is not a study folder: it has no {name}") from None

    def read_meta(self) -> StudyMeta:
        """study.json. Raises StillhouseError when it is missing or damaged."""
        return StudyMeta.from_json(self.read_text("study.json"), self.path("study.json"))

    def write_part(self, dataset: str, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write (or replace) the part of one trial; NaN is null. StillhouseError: another driver has taken over."""
        wanted = self.schemas[dataset]
        unknown = sorted({key for row in rows for key in row} - set(wanted.names))
        if unknown:
            raise StillhouseError(
                f"{dataset} has no column {', '.join(map(repr, unknown))}; spaces/records declares columns"
            )
        table = pa.Table.from_pylist([{key: known(value) for key, value in row.items()} for row in rows], schema=wanted)
        self._write_table(self.path(dataset, part_name(number)), table)
        if self._packing is not None:
            self._packing.written(dataset, number)

    def read_rows(self, dataset: str) -> list[dict[str, Any]]:
        """All rows of a dataset in the order of trial numbers, by its columns of today.

        Raises StillhouseError, which names it, for a part that is damaged or does not fit.
        """
        try:
            table = read_dataset(self.filesystem, self.path(dataset), self.columns[dataset])
        except DamagedFile as error:
            lost = "Its trials are then run again" if dataset in ("asked", "trials") else "Only their curves are lost"
            raise StillhouseError(f"{error} {lost}: stillhouse resume {self.folder}") from error
        return table.to_pylist()  # type: ignore[no-any-return]

    def write_trial(self, row: TrialRow) -> None:
        """Write (or replace) the row of a trial. Raises StillhouseError as `write_part` does."""
        self.write_part("trials", row.trial, [row.columns()])

    def read_trials(self) -> list[TrialRow]:
        """The rows of all trials that ended, in the order of their numbers. Raises StillhouseError as `read_rows`."""
        return [TrialRow.from_columns(row, self.tasks) for row in self.read_rows("trials")]

    def numbers(self, dataset: str) -> list[int]:
        """The trials that have rows in a dataset."""
        return sorted(numbers_in(self.filesystem, self.path(dataset)))

    @contextmanager
    def locked(self, say: Callable[[str], None] = LOG.info) -> Any:
        """Hold the folder for one driver at a time: by a lock on a disk, by a lease on an object store."""
        if not self.is_local:
            with leased(self.filesystem, self.path(LEASE), self.folder, say) as lease:
                self._lease = lease
                try:
                    with self._packed():
                        yield
                finally:
                    self._lease = None
            return
        try:
            os.makedirs(self.root, exist_ok=True)
            lock = contextlib.ExitStack()
            lock.enter_context(file_lock(self.path(".lock"), self.folder))
        except OSError as error:
            raise StillhouseError(
                f"the study folder {self.root} cannot be written ({error.strerror or error}); "
                "give another one: stillhouse run SPEC DIR"
            ) from error
        with lock, self._packed():
            yield

    @contextmanager
    def _packed(self) -> Iterator[None]:
        """Put parts together while the folder is held; also at its end, unless that is an error."""
        self._packing = Packing(self.filesystem, self.root, self._write_table, self._check)
        try:
            yield
            self._packing.rest()
        finally:
            self._packing = None

    def remove(self, *parts: str) -> None:
        """Delete a folder with all that is in it; one that is not there is fine."""
        if self.exists(*parts):  # of one that is not there gs:// raises what it raises where it does not answer
            with contextlib.suppress(FileNotFoundError):
                self.filesystem.delete_dir(self.path(*parts))

    def size_bytes(self, *parts: str) -> int:
        """Of all files below a folder; 0 when there is none."""
        selector = pafs.FileSelector(self.path(*parts), allow_not_found=True, recursive=True)
        return sum(info.size or 0 for info in self.filesystem.get_file_info(selector))

    def folders(self, *parts: str) -> list[str]:
        """Names of the folders right below a folder."""
        return folders_in(self.filesystem, self.path(*parts))

    def _check(self) -> None:
        """Raise StillhouseError when another driver has taken over."""
        if self._lease is not None:
            self._lease.check()

    def _write_table(self, path: str, table: pa.Table) -> None:
        self._check()
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._write_bytes(path, sink.getvalue().to_pybytes(), PAUSES_S)

    def _write_bytes(self, path: str, data: bytes, pauses_s: Sequence[float] = ()) -> None:
        def write() -> None:
            make_parent(self.filesystem, path)
            if self.is_local:
                _replace_file(path, data)
            else:
                with self.filesystem.open_output_stream(path) as stream:
                    stream.write(data)

        try:
            patiently(write, path, pauses_s)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StillhouseError(
                    f"the disk is full: {path} ({len(data)} bytes) was not written and nothing half-written was left. "
                    f"Free some space, then: stillhouse resume {self.folder}"
                ) from error
            raise StillhouseError(f"{path} cannot be written: {error}") from error


def patiently(write: Callable[[], None], path: str, pauses_s: Sequence[float]) -> None:
    """Write, and again after each pause, while the storage does not answer; OSError when it never does."""
    for pause_s in pauses_s:
        try:
            return write()
        except OSError as error:
            if error.errno in LASTING:
                raise
            LOG.warning("%s was not written (%s); once more in %g s", path, error, pause_s)
            time.sleep(pause_s)
    write()


def known(value: Any) -> Any:
    """A value as the tables have it: what is no number is null, for tools order and compare NaN each in its own way."""
    return None if isinstance(value, float) and math.isnan(value) else value


def now() -> datetime:
    """The present, as the records keep it."""
    return datetime.now(UTC)


def _replace_file(path: str, data: bytes) -> None:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:  # after a failure; otherwise it is gone
        Path(temporary).unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
