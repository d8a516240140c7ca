"""The students that the trials of a study have left: their folders, and the spaces that hold them alone."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs
import tomli_w

from search.store.parts import Store
from spaces.errors import StillhouseError
from spaces.records.filesystems import copy_folder
from spaces.records.rows import TrialRow

TEACHER, FLOOR = -1, -2
"""What stands for a trial in rows of teacher and floor."""


@contextmanager
def local_student(store: Store, row: TrialRow) -> Iterator[Path]:
    """The folder of a trial's student on this machine, fetched when the study is on an object store."""
    if row.status == "finished" and not row.student_path:
        raise StillhouseError(
            f"the weights of trial {row.trial} were not kept: the study had reached [storage] quota_gb, and others "
            f"beat it (log.txt lists what was deleted). To have them again, train it alone in a new folder, from "
            f"{store.folder}/spec.toml with [budget] trials = 1, seed = {row.seed} and\n\n"
            f"{space_of(row)}"
        )
    if not row.student_path or not store.exists(row.student_path):
        raise StillhouseError(f"trial {row.trial} left no student in {store.folder}/students")
    if store.is_local:
        yield Path(store.path(row.student_path))
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy_folder(store.filesystem, store.path(row.student_path), pyarrow.fs.LocalFileSystem(), scratch)
        yield Path(scratch)


def space_of(row: TrialRow) -> str:
    """The `[space]` that holds the configuration of a trial and nothing else, as TOML."""
    config = {name: value for name, value in row.config.items() if name != "intermediate_size"}
    config["ffn_ratio"] = row.config["intermediate_size"] / row.config["hidden_size"]
    return tomli_w.dumps({"space": {name: [value] for name, value in config.items()}})
