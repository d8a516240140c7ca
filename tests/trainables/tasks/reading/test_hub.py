"""Data sets of the hub, as the package datasets gives them."""

import datasets
import pytest

from spaces.errors import SpecError
from trainables.tasks.kinds import KINDS
from trainables.tasks.reading.hub import hub_name
from trainables.tasks.reading.tables import Column, TaskSource

COLUMNS = {"text": Column("sentence"), "label": Column("label")}


def table(names, *labels):
    features = datasets.Features({"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    rows = {"sentence": [f"text {i}" for i in range(len(labels))], "label": list(labels)}
    return datasets.Dataset.from_dict(rows, features=features)


def read(monkeypatch, address="hub:owner/name", columns=COLUMNS, **splits):
    """(ids by split, class names, what was said, what was asked of the hub)."""
    asked, said = [], []

    def load(*given, revision):
        asked.append((*given, revision))
        return datasets.DatasetDict(splits)

    monkeypatch.setattr(datasets, "load_dataset", load)
    rows, names = KINDS["classification"].read(TaskSource("toy", address, columns, said.append))
    return {split: each.labels.values.tolist() for split, each in rows.items()}, names, said, asked


def test_splits_names_and_hidden_labels(monkeypatch):
    given = {
        "test": table(["no", "yes"], -1, -1),
        "train": table(["no", "yes"], 1, 0, 1),
        "validation_matched": table(["yes", "no"], 0, 1),
        "validation_mismatched": table(["no", "yes"], 1, 1),
    }
    rows, names, said, asked = read(monkeypatch, "hub:glue/mnli", **given)
    assert (rows, names) == ({"train": [1, 0, 1], "dev": [1, 0]}, ("no", "yes"))
    assert said == [
        "data set glue: from the hub, or from what is here of it",
        "task toy: splits that are not used: validation_mismatched",
        "task toy: test is not used, all its labels are -1",
    ]
    assert asked == [("glue", "mnli", None)]
    assert read(monkeypatch, "hub:owner/name@1a2b", **given)[3] == [("owner/name", None, "1a2b")]


def test_what_is_refused(monkeypatch):
    train = table(["no", "yes"], 1, 0)
    with pytest.raises(SpecError, match="'toy': 'hub:owner/name' has no train split, only dev"):
        read(monkeypatch, valid=train)
    with pytest.raises(SpecError, match="no known split, only 'all'"):
        read(monkeypatch, all=train)
    with pytest.raises(SpecError, match="two splits that may be 'dev': 'validation'"):
        read(monkeypatch, train=train, dev=train, validation=train)
    with pytest.raises(SpecError, match="train of 'hub:owner/name' has no column 'text', only label, sentence"):
        read(monkeypatch, columns=COLUMNS | {"text": Column("text")}, train=train)

    def fail(*given, revision):
        raise FileNotFoundError("offline")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(SpecError, match="'hub:owner/name' cannot be loaded: offline"):
        KINDS["classification"].read(TaskSource("toy", "hub:owner/name", COLUMNS))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hub:glue/sst2", ("glue", "sst2")),
        ("hub:owner/name", ("owner/name", None)),
        ("hub:owner/name/config", ("owner/name", "config")),
        ("hub:imdb", ("imdb", None)),
    ],
)
def test_names(source, expected):
    assert hub_name(source) == expected
