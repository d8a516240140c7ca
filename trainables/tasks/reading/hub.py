"""Tasks of the Hugging Face hub, by the package datasets."""

from spaces.errors import SpecError
from trainables.tasks.reading.files import class_names
from trainables.tasks.reading.tables import SPLIT_NAMES, Table, TaskSource


def read_hub(source: TaskSource) -> dict[str, Table]:
    """`hub:glue/sst2` is the configuration sst2 of glue, `hub:owner/name` or `hub:owner/name/config` a user's data set.

    A split whose labels are all -1 (GLUE's hidden test labels) counts as absent.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        problem = f"task {source.task!r}: {source.address!r} needs the package datasets: pip install datasets"
        raise SpecError([problem]) from error
    path, config = hub_name(source.address)
    try:
        splits = load_dataset(path, config)
    except (OSError, ValueError) as error:
        raise SpecError([f"task {source.task!r}: {source.address!r} cannot be loaded: {error}"]) from error
    tables: dict[str, Table] = {}
    for split, aliases in SPLIT_NAMES.items():
        for alias in aliases:
            if alias in splits and split not in tables:
                data = splits[alias]
                columns = {column: data[column][:] for column in data.column_names}
                label = source.columns.get("label")
                if label is None or not hidden_labels(columns.get(label.name, [])):
                    names = {column: class_names(feature) for column, feature in data.features.to_dict().items()}
                    tables[split] = Table(columns, names)
    if not tables:
        raise SpecError([f"task {source.task!r}: {source.address!r} has no labelled split, only {sorted(splits)}"])
    return tables


def hidden_labels(labels: list) -> bool:
    """Whether every label, or every tag of every sentence, is -1."""
    flat = [tag for label in labels for tag in (label if isinstance(label, list) else [label])]
    return bool(flat) and all(tag == -1 for tag in flat)


def hub_name(source: str) -> tuple[str, str | None]:
    """(data set, configuration): glue and super_glue are the two collections that are written as name/configuration."""
    parts = source.removeprefix("hub:").split("/")
    if len(parts) == 2 and parts[0] in ("glue", "super_glue"):
        return parts[0], parts[1]
    return "/".join(parts[:2]), "/".join(parts[2:]) or None
