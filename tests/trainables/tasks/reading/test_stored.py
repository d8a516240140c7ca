"""Tasks in an object store are read as those in a folder, and refused with their place."""

import gzip
import json

import pandas as pd
import pytest
from small_tasks import make_tokenizer, write_beir

from spaces.errors import SpecError, StillhouseError
from spaces.records.filesystems import copy_folder, open_filesystem
from trainables.tasks.prepare import prepare_task, read_task
from trainables.tasks.spec import TaskSpec
from trainables.text import files


@pytest.fixture(params=["bucket", "gs_bucket", "memory"])
def put(request, tmp_path):
    """Copies a folder into a store; its URI."""
    place = "memory://tasks" if request.param == "memory" else request.getfixturevalue(request.param)

    def put(folder):
        uri = f"{place}/{tmp_path.name}/{folder.name}"
        filesystem, root = open_filesystem(uri)
        copy_folder(open_filesystem(folder)[0], str(folder), filesystem, root)
        return uri

    return put


def rows(count, begin=0):
    return pd.DataFrame(
        {"text": [f"w{i} w{i + 1}" for i in range(begin, begin + count)], "label": [0, 1] * (count // 2)}
    )


def write_files(folder):
    """A format for each split, and files that are none."""
    rows(40).to_parquet(folder / "train.parquet", row_group_size=7)
    lines = "\n".join(json.dumps(row) for row in rows(8, 50).to_dict("records"))
    (folder / "dev.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    rows(8, 60).to_csv(folder / "test.csv", index=False)
    (folder / "dev_mismatched.csv").write_text("text,label\nx,0\n")
    (folder / ".train.csv").write_text("text,label\nx,0\n")


def write_pieces(folder):
    for number in range(2):
        rows(20, 20 * number).to_parquet(folder / f"train-0000{number}-of-00002.parquet")
    (folder / "validation").mkdir()
    for number in range(2):
        rows(8, 50 + 10 * number).to_parquet(folder / f"validation/000{number}.parquet")


def write_stem(folder):
    (folder / "other").mkdir()
    for split, each in (("train", rows(40)), ("dev", rows(8, 50))):
        each.to_csv(folder / f"toy-{split}.tsv", sep="\t", index=False)


def write_search(folder):
    documents, queries = {f"d{i}": f"w{i} w{i + 1}" for i in range(20)}, {f"q{i}": f"w{i}" for i in range(8)}
    write_beir(folder, documents, queries, dev=[(f"q{i}", f"d{i}", 1) for i in range(6)], test=[("q7", "d7", 2)])


WAYS = {
    "files": (write_files, "", "classification"),
    "pieces": (write_pieces, "", "classification"),
    "stem": (write_stem, "/toy", "classification"),
    "search": (write_search, "", "retrieval"),
}
"""How a task may lie in files: (what writes it, what its source has after the folder, its kind)."""


@pytest.mark.parametrize("way", WAYS)
def test_the_same_rows_notes_and_prepared_task_as_from_a_folder(way, put, tmp_path):
    write, inner, kind = WAYS[way]
    folder = tmp_path / "source"
    folder.mkdir()
    write(folder)
    here, there = (TaskSpec("toy", f"{place}{inner}", kind) for place in (folder, f"{put(folder)}"))
    said, prepared = [], []
    for spec in (here, there, TaskSpec("toy", f"{there.source}/", kind)):
        said.append([])
        prepared.append(prepare_task(spec, make_tokenizer(), tmp_path / "cache", say=said[-1].append))
    assert len(set(prepared)) == 1 and said[0] == said[1] == said[2]
    assert ("files that are not used: dev_mismatched.csv" in "".join(said[1])) == (way == "files")


def test_a_task_that_lies_elsewhere_is_told_with_its_place(put, tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    write_files(folder)
    (folder / "test.csv").write_text("text,label\nx,0,1\n")
    uri = put(folder)
    with pytest.raises(SpecError, match=f"{uri}/test.csv, line 2: 3 fields"):
        read_task(TaskSpec("toy", uri, "classification"))
    assert f"{uri}/train.parquet is one file: call it train.parquet" in problem(f"{uri}/train.parquet")
    assert f"no file {uri}s/train or {uri}s-train ending in" in problem(f"{uri}s")
    for inner in ("inner", ".hidden"):
        (folder / inner).mkdir()
        rows(8).to_parquet(folder / f"{inner}/train-00000-of-00001.parquet")
    for name in ("train.parquet", "dev.jsonl.gz", "test.csv"):
        (folder / name).unlink()
    other = put(folder.rename(tmp_path / "other"))
    assert f"there is {other}/inner/train-00000-of-00001.parquet: give that folder" in problem(other)
    assert f"{uri}s' is no folder with corpus, queries" in problem(f"{uri}s", "retrieval")


def problem(source, kind="classification"):
    with pytest.raises(SpecError) as caught:
        read_task(TaskSpec("toy", source, kind))
    (only,) = caught.value.problems
    assert only.startswith("task 'toy'")
    return only


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://nosuchbucket/news", "no such bucket or folder: s3://nosuchbucket/news"),
        ("s3://nosuchbucket", "no such bucket or folder: s3://nosuchbucket"),
        ("gs://anonymous@nosuchbucket/news", "no such bucket or folder: gs://anonymous@nosuchbucket/news"),
        ("gs://anonymous@denied/news", "PERMISSION_DENIED"),
        ("gs://anonymous@denied/news", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("s3://studies//news", "the store does not give it"),
        ("s4://studies/news", "no filesystem for 's4://studies/news'"),
    ],
)
def test_what_cannot_be_had_is_told(source, words, bucket, gs_bucket):
    told = problem(source)
    assert words in told and "error_info" not in told


def test_many_groups_of_rows_are_few_requests(put, tmp_path, monkeypatch):
    folder = tmp_path / "source"
    folder.mkdir()
    for split in ("train", "dev"):
        long = rows(2000).assign(other=lambda each: each.text * 20)
        long.to_parquet(folder / f"{split}.parquet", row_group_size=100, compression=None)
        assert (folder / f"{split}.parquet").stat().st_size > 400_000  # more than pyarrow reads with the schema
    asked = []

    def counted(stored, unchanged=files.Stored.open):
        read = unchanged(stored)
        return lambda begin, number: asked.append(number) or read(begin, number)

    monkeypatch.setattr(files.Stored, "open", counted)
    read_task(TaskSpec("toy", put(folder), "classification"))
    assert 0 < len(asked) <= 20


def test_a_file_that_a_store_lists_but_does_not_give(put, tmp_path, monkeypatch):
    folder = tmp_path / "source"
    folder.mkdir()
    write_files(folder)
    uri = put(folder)

    def denied(stored):
        raise StillhouseError(f"{stored.path} cannot be read: ACCESS_DENIED")

    monkeypatch.setattr(files.Stored, "open", denied)
    assert f"task 'toy': {uri!r}: " in (told := problem(uri)) and "cannot be read: ACCESS_DENIED" in told
