"""A folder of files, wherever it lies: on this machine or in an object store."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from spaces.records.filesystems import folders_in
from trainables.text.files import File, answering, file_here, is_elsewhere, store_of, stored_below


@dataclass(frozen=True)
class Folder:
    """A folder of which what lies right in it is listed, sorted; names that begin with a dot are passed over."""

    place: str
    """for people: its path on a machine, or its URI"""
    stored: tuple[str, str] | None = None
    """(source, path in its store); None: it lies on this machine"""

    @property
    def name(self) -> str:
        """Without those above it."""
        return PurePosixPath(self.place).name

    @property
    def parent(self) -> "Folder":
        """The one that it lies in; of a bucket, itself."""
        if self.stored is None:
            return Folder(str(Path(self.place).parent))
        source, root = self.stored
        above = root.rpartition("/")[0]
        return Folder(self.place.rpartition("/")[0], (source, above)) if above else self

    def files(self) -> list[File]:
        """Raises StillhouseError where a store refuses."""
        if self.stored is not None:
            return sorted(stored_below(*self.stored, self.place, recursive=False), key=lambda file: file.name)
        paths = sorted(Path(self.place).iterdir())
        return [file_here(path) for path in paths if path.is_file() and not path.name.startswith(".")]

    def folders(self) -> list["Folder"]:
        """Raises StillhouseError where a store refuses."""
        if self.stored is None:
            names = sorted(path.name for path in Path(self.place).iterdir() if path.is_dir())
        else:
            source, root = self.stored
            with answering(source):
                names = folders_in(store_of(source)[0], root)
        return [self / name for name in names if not name.startswith(".")]

    def __truediv__(self, name: str) -> "Folder":
        """A folder in it, whether there is one or not."""
        inner = None if self.stored is None else (self.stored[0], f"{self.stored[1]}/{name}")
        return Folder(f"{self.place.rstrip('/')}/{name}", inner)

    def exists(self) -> bool:
        """Raises StillhouseError where a store refuses."""
        if self.stored is None:
            return Path(self.place).is_dir()
        source, root = self.stored
        with answering(source):
            return bool(store_of(source)[0].get_file_info(root).type == pafs.FileType.Directory)


def folder_at(source: str) -> Folder:
    """The folder of a path or URI, whether there is one or not. Raises StillhouseError for an unknown scheme."""
    if not is_elsewhere(source):
        return Folder(str(Path(source).expanduser()))
    with answering(source):
        return Folder(source.rstrip("/"), (source, store_of(source)[1]))
