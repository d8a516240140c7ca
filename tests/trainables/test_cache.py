"""Digests of files: the same for the same content, remembered for large files that settled."""

import hashlib
import os

import numpy as np
import pytest

import trainables.cache
from spaces.errors import StillhouseError
from trainables.cache import cache_folder, content_digest, content_digests, digest, digest_files, store_value


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A large file, by a measure that suits a test, which changed long ago."""
    monkeypatch.setattr(trainables.cache, "LARGE_BYTES", 4)
    monkeypatch.setattr(trainables.cache, "SETTLED_S", 0.0)
    path = tmp_path / "weights"
    path.write_bytes(b"abcdef")
    return path


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read to be hashed."""
    seen, file_digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: seen.append(file.name) or file_digest(file, kind))
    return seen


def test_a_large_file_is_read_once_until_it_changes(file, reads):
    first = content_digest(file)
    assert first == hashlib.sha256(b"abcdef").hexdigest() == content_digest(file)
    assert len(reads) == 1
    before = file.stat().st_mtime_ns
    file.write_bytes(b"abcdeg")
    os.utime(file, ns=(before, before))  # as a tool that keeps times leaves it
    assert content_digest(file) == hashlib.sha256(b"abcdeg").hexdigest()
    assert len(reads) == 2


def test_small_and_fresh_files_are_always_read(file, reads, monkeypatch):
    monkeypatch.setattr(trainables.cache, "SETTLED_S", 60.0)
    assert content_digest(file) == content_digest(file) and len(reads) == 2
    monkeypatch.setattr(trainables.cache, "SETTLED_S", 0.0)
    monkeypatch.setattr(trainables.cache, "LARGE_BYTES", 7)
    assert content_digest(file) == content_digest(file) and len(reads) == 4


def test_a_cache_that_cannot_be_written_is_done_without(file, reads, tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "taken"))
    assert content_digest(file) == content_digest(file) and len(reads) == 2


def test_names_and_contents_make_the_digest_of_files(tmp_path):
    for folder, name, content in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    a, b, c, d = (digest_files(list((tmp_path / folder).iterdir())) for folder in "abcd")
    assert a == b and len({a, c, d}) == 3


def test_a_cache_that_cannot_be_written_to_is_told_with_its_variable(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file where a folder should be")
    for name in ("STILLHOUSE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(StillhouseError, match=r"cannot be written to .*: set STILLHOUSE_CACHE"):
        store_value(cache_folder() / "scores" / "one", {"score": 1.0})
    with pytest.raises(FileExistsError):  # a folder of the user's is no matter of the cache
        store_value(tmp_path / "home" / "students", {})

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", no_home)
    with pytest.raises(StillhouseError, match="no home folder for the cache: set STILLHOUSE_CACHE"):
        cache_folder()


def test_many_small_files_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("trainables.cache.SETTLED_S", -1.0)
    monkeypatch.setattr("trainables.cache.LARGE_BYTES", 30)
    paths = [tmp_path / f"{name}.txt" for name in "abc"]
    for path in paths:
        path.write_text(f"text of file {path.name}")
    first = content_digests(paths)
    monkeypatch.setattr("trainables.cache.content_digest", lambda path: pytest.fail("read again"))
    assert content_digests(paths) == first and len(set(first.values())) == 3


def test_a_digest_is_of_all_of_its_parts():
    assert digest("a", "b") != digest("ab") and digest([*range(5000)]) != digest([*range(2000), *range(2001, 5001)])
    assert digest(np.float64(0.5)) == digest(0.5)
    with pytest.raises(TypeError, match="an array is no part of a digest"):
        digest(np.arange(3))
