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


def test_a_folder_is_a_split_and_digests_are_no_part_of_a_name(tmp_path):
    """As the hub keeps data sets: converted to train/0000.parquet, or in pieces that end with a digest."""
    (tmp_path / "a/train").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    for number, text in enumerate("xy"):
        (tmp_path / f"a/train/000{number}.csv").write_text(f"text\n{text}\n")
        (tmp_path / f"b/train-0000{number}-of-00002-0123456789abcde{number}.csv").write_text(f"text\n{text}\n")
    for folder in "ab":
        assert read_files(source(tmp_path / folder))["train"].columns["text"] == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train.json", "there is train.json"),
        ("data/train-00000-of-00001.parquet", "data/train-00000-of-00001.parquet: give that folder"),
        ("toy-train.csv", "there is toy-train.csv"),
    ],
)
def test_what_is_there_instead(tmp_path, name, words):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(SpecError, match=words):
        split_files(source(tmp_path))


def test_a_split_in_a_format_that_is_not_read_is_told_of(tmp_path):
    said = []
    for name in ("train.csv", "dev.csv.bz2", "test.json", "README.md"):
        (tmp_path / name).write_text("text\na\n")
    assert [*split_files(source(tmp_path, said))] == ["train"]
    assert said == ["task toy: files that are not used: dev.csv.bz2, test.json"]
    with pytest.raises(SpecError, match="is one file: call it"):
        split_files(source(tmp_path / "train.csv"))
