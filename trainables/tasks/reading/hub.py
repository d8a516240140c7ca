"""Tasks of the Hugging Face hub, by the package datasets."""

from collections.abc import Collection
from functools import partial
from typing import Any

from spaces.errors import SpecError
from trainables.tasks.reading.tables import TaskSource
from trainables.text.hub import hub_address, load_hub
from trainables.text.splits import SPLIT_WORDS, split_of
from trainables.text.tables import Columns, Table, class_names


def read_hub(source: TaskSource, parts: Collection[str] = ()) -> dict[str, Table]:
    """`hub:glue/sst2` is the configuration sst2 of glue, `hub:owner/name` or `hub:owner/name/config` a user's.

    A revision may stand at the end: `hub:owner/name@1a2b3c4`.
    """
    path, config = hub_name(source.address)
    try:
        splits = load_hub(path, config, revision=hub_address(source.address)[1], say=source.say)
    except ImportError as error:
        problem = f"task {source.task!r}: {source.address!r} needs the package datasets: pip install datasets"
        raise SpecError([problem]) from error
    except (OSError, ValueError) as error:
        raise SpecError([f"task {source.task!r}: {source.address!r} cannot be loaded: {error}"]) from error
    tables: dict[str, Table] = {}
    for name, data in splits.items():
        split = name if name in parts else split_of(name)
        if split in tables:
            raise SpecError(
                [f"task {source.task!r}: {source.address!r} has two splits that may be {split!r}: {name!r}"]
            )
        if split is not None:
            columns = Columns(data.column_names, partial(read_column, data))
            names = {column: class_names(feature) for column, feature in data.features.to_dict().items()}
            tables[split] = Table(columns, names)
    if unused := [name for name in splits if name not in parts and split_of(name) is None]:
        source.say(f"task {source.task}: splits that are not used: {', '.join(unused)}")
    if not tables:
        raise SpecError(
            [f"task {source.task!r}: {source.address!r} has no known split, only {', '.join(map(repr, splits))}"]
        )
    return {split: tables[split] for split in (*SPLIT_WORDS, *parts) if split in tables}


def read_column(data: Any, name: str) -> list:
    """The values of a column of the package datasets."""
    return data[name][:]


def hub_name(source: str) -> tuple[str, str | None]:
    """(data set, configuration): glue and super_glue are the two collections that are written as name/configuration."""
    parts = hub_address(source)[0].split("/")
    if len(parts) == 2 and parts[0] in ("glue", "super_glue"):
        return parts[0], parts[1]
    return "/".join(parts[:2]), "/".join(parts[2:]) or None
