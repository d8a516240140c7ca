"""Which file holds which split of a task."""

import gzip

import pytest

from spaces.errors import SpecError
from trainables.tasks.reading.files import read_files, split_files
from trainables.tasks.reading.tables import Column, TaskSource


def source(address, said=None):
    return TaskSource("toy", str(address), {"text": Column("text")}, (said if said is not None else []).append)


@pytest.mark.parametrize("style", ["{}.csv", "{}.TSV", "toy-{}.csv", "toy.{}.jsonl", "toy_{}.parquet", "{}.csv.gz"])
def test_split_names(tmp_path, style):
    said = []
    toy = source(tmp_path / "toy" if style.startswith("toy") else tmp_path, said)
    for name in ("Train", "val", "validation_mismatched", "testing"):
        (tmp_path / style.format(name)).write_text("")
    (tmp_path / f"._{style.format('train')}").write_text("")
    found = {split: file.name for split, [file] in split_files(toy).items()}
    assert found == {"train": style.format("Train"), "dev": style.format("val"), "test": style.format("testing")}
    assert said == [f"task toy: files that are not used: {style.format('validation_mismatched')}"]
    (tmp_path / style.format("dev")).write_text("")
    with pytest.raises(SpecError, match="both hold the split 'dev'"):
        split_files(toy)


def test_pieces_of_a_split_are_one_table(tmp_path):
    for number, text in enumerate(("a", "b")):
        (tmp_path / f"train-{number:05}-of-00002.csv").write_text(f"text,label\n{text},0\n")
    (tmp_path / "dev-00000-of-00001.jsonl.gz").write_bytes(gzip.compress(b'{"text": "c"}\n'))
    found = {split: table.columns["text"] for split, table in read_files(source(tmp_path)).items()}
    assert found == {"train": ["a", "b"], "dev": ["c"]}
    (tmp_path / "train-00001-of-00002.csv").unlink()
    with pytest.raises(SpecError, match="1 of its 2 pieces"):
        split_files(source(tmp_path))
    (tmp_path / "train-00001-of-00002.csv").write_text("body,label\nb,0\n")
    with pytest.raises(SpecError, match="has not the columns"):
        read_files(source(tmp_path))
    (tmp_path / "train.csv").write_text("")
    with pytest.raises(SpecError, match="both hold the split 'train'"):
        split_files(source(tmp_path))
