"""Reading and checking rows: files, class names, and what is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tasks import prepared, separable, texts, write

from spaces.errors import SpecError
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.spec import TaskSpec


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv", "tsv"])
def test_every_file_kind_gives_the_same_arrays(tmp_path, tokenizer, suffix):
    columns = {"train": separable(30, 0), "dev": separable(10, 1)}
    spec = TaskSpec("toy", str(write(tmp_path / "data", suffix, **columns)), "classification")
    task = load_task(prepare_task(spec, tokenizer, tmp_path / "cache"))
    assert task.splits["dev"].labels.values.tolist() == columns["dev"]["label"]
    for row, text in enumerate(columns["dev"]["text"]):
        assert task.splits["dev"].views["text"][row].tolist() == tokenizer(text)["input_ids"]
    assert task.label_names == ("0", "1")
    assert "test" not in task.splits


def test_a_stem_and_the_name_validation(tmp_path, tokenizer):
    write(tmp_path, **{"toy-train": separable(30, 0), "toy-validation": separable(12, 1)})
    task = load_task(
        prepare_task(TaskSpec("toy", str(tmp_path / "toy"), "classification"), tokenizer, tmp_path / "cache")
    )
    assert task.meta["sizes"]["dev"] == 12


def test_class_names_from_metadata_and_from_texts(tmp_path, tokenizer):
    features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table(separable(30, 0)).replace_schema_metadata(metadata)
    (tmp_path / "a").mkdir()
    pq.write_table(table, tmp_path / "a" / "train.parquet")
    task = load_task(prepare_task(TaskSpec("a", str(tmp_path / "a"), "classification"), tokenizer, tmp_path))
    assert task.label_names == ("bad", "good")
    named = {"text": texts(6, np.random.default_rng(0)), "label": ["y", "x", "y", "x", "x", "y"]}
    task = prepared(tmp_path, tokenizer, train=named, dev=named | {"text": ["w1"] * 6})
    assert task.label_names == ("x", "y")
    assert task.splits["dev"].labels.values.tolist() == [1, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dev": {"text": ["a", None], "label": [0, 1]}}, ["dev", "'text'", "row 1", "None"]),
        ({"dev": {"words": ["a", "b"], "label": [0, 1]}}, ["dev", "no column 'text'", "words"]),
        ({"dev": {"Text": ["a", "b"], "label": [0, 1]}}, ["no column 'text', only Text, label. Did you mean 'Text'?"]),
        ({"dev": {"text;label": ["a;0", "b;1"]}}, ["no column 'text', only text;label; its fields stand between ';'"]),
        (
            {"train": {"text": ["a", "b"], "label": ["Yes", "No"]}, "dev": {"text": ["c"], "label": ["Yes "]}},
            ["row 0 is 'Yes ', not one of No, Yes. Did you mean 'Yes'?"],
        ),
        ({"dev": {"text": ["a", "b"], "label": [0, 7]}}, ["dev", "row 1", "7", "0 to 1"]),
        ({"dev": {"text": ["a", "b"], "label": [0, -1]}}, ["dev", "row 1", "-1"]),
        ({"dev": {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}}, ["dev", "empty"]),
        ({"train": {"text": ["a", "b"], "label": [1, 1]}}, ["train", "one class"]),
        ({"train": {"text": ["a", "b"], "label": [1.0, 0.5]}}, ["train", "row 1 is 0.5, not a class"]),
        ({"train": {"text": ["a", "b"], "label": [["x"], ["y"]]}}, ["train", "row 0 is ['x'], not a class"]),
        ({"dev": {"text": ["a", "b"], "label": [1, 1]}}, ["dev", "one class"]),
    ],
)
def test_bad_rows_are_refused_by_name(tmp_path, tokenizer, change, words):
    with pytest.raises(SpecError) as caught:
        prepared(tmp_path, tokenizer, **{"train": separable(20, 0), "dev": separable(10, 1), **change})
    for word in ["'toy'", *words]:
        assert word in str(caught.value)
    assert not list((tmp_path / "cache").glob("tasks/toy-*"))


def test_regression_targets_must_be_finite(tmp_path, tokenizer):
    rng = np.random.default_rng(0)
    train = {"text": texts(3, rng), "text2": texts(3, rng), "label": [0.5, float("nan"), 1.0]}
    with pytest.raises(SpecError, match="row 1 is nan, not a finite number"):
        prepared(tmp_path, tokenizer, "regression", train=train)


def test_empty_texts_are_told_and_a_file_that_may_be_train_is_named(tmp_path, tokenizer):
    source, said = (
        write(tmp_path / "source", "jsonl", train=separable(20, 0), dev={"text": ["a", " "], "label": [0, 1]}),
        [],
    )
    prepare_task(TaskSpec("toy", str(source), "classification"), tokenizer, tmp_path / "cache", say=said.append)
    assert said == ["task toy: 1 of 2 texts of dev are empty (column 'text')"]
    (source / "train.jsonl").rename(source / "train_full.jsonl")
    with pytest.raises(SpecError, match=r"has no train split, only dev; files that are not used: train_full\.jsonl"):
        prepare_task(TaskSpec("toy", str(source), "classification"), tokenizer, tmp_path / "cache")


def test_missing_files_and_two_files_of_one_split(tmp_path, tokenizer):
    with pytest.raises(SpecError, match="no file"):
        prepare_task(TaskSpec("toy", str(tmp_path / "nothing"), "classification"), tokenizer, tmp_path)
    source = write(tmp_path / "source", train=separable(20, 0))
    write(source, "jsonl", train=separable(20, 0))
    with pytest.raises(SpecError, match="both hold"):
        prepare_task(TaskSpec("toy", str(source), "classification"), tokenizer, tmp_path)


def test_ids_mean_what_their_own_file_says(tmp_path, tokenizer):
    """ClassLabel columns whose names stand in another order, and a file without names."""
    source = tmp_path / "source"
    source.mkdir()
    for split, names in (("train", ["neg", "pos"]), ("dev", ["pos", "neg"])):
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = pa.table({"text": [f"w1 {split}", f"w2 {split}"], "label": [0, 1]})
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), source / f"{split}.parquet")
    pq.write_table(pa.table({"text": ["w3", "w4"], "label": [1, 0]}), source / "test.parquet")
    task = load_task(prepare_task(TaskSpec("toy", str(source), "classification"), tokenizer, tmp_path / "cache"))
    found = {split: data.labels.values.tolist() for split, data in task.splits.items()}
    assert (task.label_names, found["dev"], found["test"]) == (("neg", "pos"), [1, 0], [1, 0])


@pytest.mark.parametrize(
    ("train", "dev", "names", "ids"),
    [
        ([3, 940, 17], [940, 3], ("3", "17", "940"), [2, 0]),
        (["2", "10", "2"], [10, 2], ("2", "10"), [1, 0]),
        ([0, "1", 0], ["0", 1], ("0", "1"), [0, 1]),
        (["true", "false", "true"], ["true", "false"], ("false", "true"), [1, 0]),
        (["2024-01-05", "NA", "007"], ["NA", "007"], ("007", "2024-01-05", "NA"), [2, 0]),
        ([1.0, 2.0, 1.0], [2.0, 1.0], ("1", "2"), [1, 0]),
    ],
)
def test_classes_are_the_labels_that_occur(tmp_path, tokenizer, train, dev, names, ids):
    """Types are decided over all splits; numbers are ordered as numbers."""
    columns = {"train": {"text": ["w1", "w2", "w3"], "label": train}, "dev": {"text": ["w4", "w5"], "label": dev}}
    source = write(tmp_path / "source", "jsonl", **columns)
    task = load_task(prepare_task(TaskSpec("toy", str(source), "classification"), tokenizer, tmp_path / "cache"))
    assert (task.label_names, task.splits["dev"].labels.values.tolist()) == (names, ids)


def test_targets_that_single_precision_cannot_tell_apart(tmp_path, tokenizer):
    columns = {"text": ["w1", "w2", "w3"], "label": ["1700000001", "1700000002", "1700000003"]}
    source = write(tmp_path / "source", "csv", train=columns, dev=columns | {"text": ["w4", "w5", "w6"]})
    task = load_task(prepare_task(TaskSpec("toy", str(source), "regression"), tokenizer, tmp_path / "cache"))
    assert np.diff(task.splits["dev"].labels.values).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("columns", "why"),
    [({}, "it has no column 'label'"), ({"label": [None, None]}, "all its labels are empty"),
     ({"label": ["", ""]}, "all its labels are empty"), ({"label": [-1, -1]}, "all its labels are -1")],
)  # fmt: skip
def test_a_test_that_keeps_its_labels_back_is_absent(tmp_path, tokenizer, columns, why):
    splits = {"train": separable(20, 0), "dev": separable(10, 1), "test": {"text": ["a", "b"], **columns}}
    spec, said = TaskSpec("toy", str(write(tmp_path / "source", "jsonl", **splits)), "classification"), []
    task = load_task(prepare_task(spec, tokenizer, tmp_path / "cache", say=said.append))
    assert set(task.splits) == {"train", "dev"} and f"task toy: test is not used, {why}" in said
