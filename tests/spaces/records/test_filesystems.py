"""Where URIs lead, and what stores have in common though their servers do not."""

import time

import pyarrow.fs as pafs
import pytest

from spaces.errors import StillhouseError
from spaces.records.filesystems import copy_folder, folders_in, make_parent, open_filesystem


@pytest.fixture(params=["bucket", "gs_bucket", "memory", "disk"])
def place(request, tmp_path):
    """A folder of each kind."""
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    return (
        str(tmp_path / "disk")
        if request.param == "disk"
        else f"{request.getfixturevalue(request.param)}/{tmp_path.name}"
    )


def write(filesystem, path, text):
    make_parent(filesystem, path)
    with filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())


def test_folders_are_there_as_soon_as_a_file_is_in_them(place, tmp_path):
    filesystem, root = open_filesystem(place)
    assert folders_in(filesystem, root) == []
    for name in ("b/c/deep.txt", "b/also.txt", "h é 100%/x.txt", "top.txt"):
        write(filesystem, f"{root}/{name}", name)
    assert folders_in(filesystem, root) == ["b", "h é 100%"] and folders_in(filesystem, f"{root}/b") == ["c"]


def test_a_folder_is_copied_with_those_in_it_there_and_back(place, tmp_path):
    filesystem, root = open_filesystem(place)
    local = pafs.LocalFileSystem()
    for name in ("config.json", "1_Pooling/config.json"):
        write(local, str(tmp_path / "student" / name), name)
    copy_folder(local, str(tmp_path / "student"), filesystem, f"{root}/students/00003")
    copy_folder(filesystem, f"{root}/students/00003", local, str(tmp_path / "back"))
    assert (tmp_path / "back/config.json").read_text() == "config.json"
    assert (tmp_path / "back/1_Pooling/config.json").read_text() == "1_Pooling/config.json"


def test_writing_to_google_needs_no_say_over_buckets_and_makes_none(gs_bucket, gs_requests, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "invented")  # with which pyarrow makes a bucket that is not there
    before = len(gs_requests())
    filesystem, root = open_filesystem(f"{gs_bucket}/{tmp_path.name}")
    write(filesystem, f"{root}/deep/er/file", "x")
    with pytest.raises(FileNotFoundError):
        write(filesystem, "mistyped/deep/file", "x")
    asked = [path for _, path in gs_requests()[before:]]
    assert asked and all(path.partition("?")[0].startswith(("/storage/v1/b/studies/o", "/upload/")) for path in asked)
    assert filesystem.get_file_info("mistyped").type == pafs.FileType.NotFound


def test_a_store_that_does_not_answer_is_not_asked_for_a_quarter_of_an_hour(monkeypatch):
    monkeypatch.setattr("spaces.records.filesystems.GS_RETRY_S", 1)
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", "http://127.0.0.1:9")
    filesystem, path = open_filesystem("gs://anonymous@studies/mine/")
    assert path == "studies/mine"
    started_s = time.monotonic()
    with pytest.raises(OSError, match="UNAVAILABLE"):
        filesystem.get_file_info(path)
    assert time.monotonic() - started_s < 30


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("gs://me@bucket/x", r"no filesystem for 'gs://me@bucket/x': GCS URIs do not accept username except"),
        ("gs://bucket/x?colour=red", r"no filesystem for 'gs://bucket/x\?colour=red': .*'colour'"),
        ("s4://bucket/x", r"no filesystem for 's4://bucket/x': .* Known: gs, s3"),
    ],
)
def test_what_is_no_filesystem_is_told(uri, problem):
    with pytest.raises(StillhouseError, match=problem):
        open_filesystem(uri)
