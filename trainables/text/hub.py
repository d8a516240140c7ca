"""Data sets of the Hugging Face hub: how a spec names one, `hub:owner/name`, or one of its revisions after an `@`."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spaces.telling import Say
from trainables.cache import cache_folder, digest, new_folder

HUB = "hub:"
ROWS = 1000
"""Of a data set that are held at a time."""
GROUP_BYTES = 2**24
"""Of text in a group of rows: as much as workers read at a time."""


def hub_address(source: str) -> tuple[str, str | None]:
    """(what stands for the data set, its revision if one is named): a commit, tag or branch."""
    name, _, revision = source.removeprefix(HUB).partition("@")
    return name, revision or None


def load_hub(path: str, *args: Any, say: Say, **options: Any) -> Any:
    """A data set by `datasets.load_dataset`; one line is told in place of the bars that the package draws.

    Raises ImportError without the package, OSError or ValueError for what the hub does not give.
    """
    import datasets

    say(f"data set {path}: from the hub, or from what is here of it")
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(path, *args, **options)
    finally:
        if shown:
            datasets.enable_progress_bars()


def column_file(table: Any, column: str, say: Say) -> Path:
    """A column of a split of `datasets` as a Parquet file in the cache, written once in bounded memory.

    It is known by the fingerprint of the split, which `datasets` makes of the revision, the configuration and whatever
    was done to the rows.
    """
    folder = cache_folder() / "hub" / digest(table._fingerprint, column)
    if not folder.is_dir():
        say(f"corpus: {len(table):,} rows of the data set are written as Parquet, once")
        with new_folder(folder) as unfinished:
            write_column(table, column, unfinished / "train.parquet")
    return folder / "train.parquet"


def write_column(table: Any, column: str, target: Path) -> None:
    """Groups of rows of about GROUP_BYTES."""
    schema = pa.schema([table.features.arrow_schema.field(column)])
    held: list[pa.Table] = []
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in table.select_columns([column]).with_format("arrow").iter(ROWS):
            held.append(batch.cast(schema))
            if sum(each.nbytes for each in held) >= GROUP_BYTES:
                writer.write_table(pa.concat_tables(held))
                held = []
        if held:
            writer.write_table(pa.concat_tables(held))
