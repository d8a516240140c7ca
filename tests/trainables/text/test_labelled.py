"""Texts with labels: read from every format, named classes, refusals with their rows."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spaces.errors import SpecError
from trainables.text.labelled import read_labelled
from trainables.text.sources import CorpusSpec

ROWS = [(f"text number {i} of many", ("glad", "sad")[i % 3 == 0]) for i in range(120)]
NAMED = {b"huggingface": json.dumps({"info": {"features": {"y": {"names": ["sad", "glad"]}}}}).encode()}


def write_parquet(path, labels=None):
    table = pa.table({"t": [text for text, _ in ROWS], "y": labels or [int(label == "glad") for _, label in ROWS]})
    pq.write_table(table if labels else table.replace_schema_metadata(NAMED), path)


WRITERS = {
    "a.jsonl": lambda path: path.write_text("\n".join(json.dumps({"t": text, "y": label}) for text, label in ROWS)),
    "a.csv": lambda path: path.write_text("t,y\n" + "\n".join(",".join(row) for row in ROWS)),
    "a.parquet": write_parquet,
}


def read(folder, **options):
    return read_labelled(CorpusSpec(str(folder), 16, "t", texts="single", label_column="y", **options), print)


@pytest.mark.parametrize("name", WRITERS)
def test_every_text_keeps_its_label(name, tmp_path):
    WRITERS[name](tmp_path / name)
    (train, held_out), names = read(tmp_path / name)
    assert names == ("glad", "sad") and held_out.texts
    rows = [row for each in (train, held_out) for row in zip(each.texts, each.classes_N, strict=True)]
    assert sorted((text, names[place]) for text, place in rows) == sorted(ROWS)


def test_numbers_without_names_and_files_of_their_own(tmp_path):
    write_parquet(tmp_path / "train.parquet", [i % 2 for i in range(120)])
    write_parquet(tmp_path / "valid.parquet", [1] * 120)
    (train, held_out), names = read(tmp_path)
    assert names == ("0", "1") and len(train.texts) == len(held_out.texts) == 120 and set(held_out.classes_N) == {1}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", "a line", "a file of lines has no labels; give a table with the columns t and y"),
        ("a.csv", "t,label\na,b\n", "label_column: .* has no column 'y'"),
        ("a.jsonl", '{"t": "a", "y": "x"}\n{"t": "b", "y": null}', "row 2, 'y' is None, not a class"),
        ("a.jsonl", '{"t": "a", "y": 0.5}', "row 1, 'y' is 0.5, not a class"),
        ("a.jsonl", '{"t": " ", "y": "x"}', "no text with a label to train on"),
    ],
)
def test_what_has_no_labels_is_refused(name, content, problem, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(SpecError, match=problem):
        read(tmp_path / name)


def test_a_class_without_a_name_is_refused(tmp_path):
    table = pa.table({"t": ["a", "b"], "y": [0, 2]}).replace_schema_metadata(NAMED)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SpecError, match="row 2, 'y' is 2, not a class id from 0 to 1"):
        read(tmp_path / "a.parquet")
