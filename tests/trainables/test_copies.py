"""Caches of nodes that share no disk: what one made, another reads, whole, once, and within bounds."""

import os
import shutil
from pathlib import Path

import pytest

import trainables.copies
from spaces.errors import StillhouseError
from trainables.cache import cache_folder, new_folder
from trainables.copies import (
    at_hand,
    cached_value,
    file_at_hand,
    is_home,
    is_kept,
    locked,
    make_room,
    shared,
    shared_file,
    silent_home,
)
from trainables.home import FolderRecord, record_of
from trainables.models.embedding import Embedder, Normalize, embedder_of
from trainables.models.sentence_folders import write_embedder
from trainables.models.teacher import for_nodes, load_teacher, told_name

EMBEDDED = Path(__file__).parents[2] / "trainables/embedded_teacher"


@pytest.fixture(autouse=True)
def new_process(monkeypatch):
    """Locks are held for the life of a process, and here each test is one."""
    yield
    trainables.copies.lock_for_life.cache_clear()


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Go to a node: its cache is another, and it knows only the home."""

    def go(name, home=f"file://{tmp_path}/home"):
        monkeypatch.setenv("STILLHOUSE_CACHE", home)
        monkeypatch.setenv("STILLHOUSE_LOCAL_CACHE", str(tmp_path / name))
        assert cache_folder() == tmp_path / name

    return go


@pytest.fixture
def copied(monkeypatch):
    """The files that were copied from home."""
    files, get_file = [], trainables.home.get_file

    def counted(uri, *rest):
        files.append(uri.rpartition("/")[2])
        get_file(uri, *rest)

    monkeypatch.setattr("trainables.home.get_file", counted)
    monkeypatch.setattr("trainables.copies.get_file", counted)
    return files


def made(place, size=3):
    """A folder of the cache with a file and a folder in it."""
    with new_folder(cache_folder() / place) as unfinished:
        (unfinished / "train.npy").write_bytes(b"x" * size)
        (unfinished / "teacher").mkdir()
        (unfinished / "teacher/meta.json").write_text("{}")
    return cache_folder() / place


def test_what_one_node_made_is_copied_to_another_once(node, bucket, copied, tmp_path):
    home = f"{bucket}/{tmp_path.name}"
    node("first", home)
    name = shared(made("corpora/a"))
    assert name == "cache:corpora/a" and at_hand(name) == tmp_path / "first/corpora/a" and not copied
    node("second", home)
    for _ in range(2):
        folder = at_hand(name)
        assert folder == tmp_path / "second/corpora/a"
        assert (folder / "train.npy").read_bytes() == b"xxx" and (folder / "teacher/meta.json").read_text() == "{}"
    assert sorted(copied) == ["meta.json", "train.npy"]
    with pytest.raises(StillhouseError, match="no corpora/b: STILLHOUSE_CACHE must be a folder that all nodes share"):
        at_hand("cache:corpora/b")


def test_with_a_disk_that_all_share_nothing_is_copied(monkeypatch, tmp_path, copied):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    folder = made("tasks/t")
    assert at_hand(shared(folder)) == folder and at_hand(str(tmp_path)) == tmp_path
    shared_file(folder / "train.npy")
    assert not is_home(folder / "train.npy") and not is_kept(cache_folder() / "tasks/u") and not copied
    assert for_nodes(str(EMBEDDED)) == str(EMBEDDED)


def test_a_folder_whose_upload_was_cut_off_is_not_there(node, monkeypatch):
    node("first")
    folder = made("corpora/a")
    with monkeypatch.context() as patch:
        patch.setattr("trainables.home.put_file", lambda path, uri: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shared(folder)
    node("second")
    assert not is_kept(cache_folder() / "corpora/a")
    node("first")
    shared(folder)
    node("second")
    assert is_kept(cache_folder() / "corpora/a")


def test_a_damaged_copy_is_refused_and_leaves_nothing(node, tmp_path):
    node("first")
    name = shared(made("corpora/a"))
    (tmp_path / "home/corpora/a/train.npy").write_bytes(b"xxy")
    node("second")
    with pytest.raises(StillhouseError, match=r"home/corpora/a/train\.npy is damaged"):
        at_hand(name)
    assert not (tmp_path / "second/corpora/a").exists() and not list((tmp_path / "second/corpora").iterdir())


def test_one_file_of_a_folder_is_copied_alone(node, copied, tmp_path):
    node("first")
    for number in range(3):
        path = cache_folder() / f"targets/key/train-plain/{number:05d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]))
        shared_file(path)
    node("second")
    path = cache_folder() / "targets/key/train-plain/00001.safetensors"
    assert is_home(path) and file_at_hand(path).read_bytes() == b"\x01" == file_at_hand(path).read_bytes()
    assert copied == ["00001.safetensors"]
    assert not file_at_hand(path.with_name("00009.safetensors")).exists()


def test_copies_give_way_to_newer_ones_but_not_while_they_are_read(node, monkeypatch):
    node("first")
    names = [shared(made(f"corpora/{letter}", 400_000)) for letter in "abcd"]
    monkeypatch.setenv("STILLHOUSE_LOCAL_GB", "0.001")
    node("second")
    a, b, _ = (at_hand(name) for name in names[:3])
    assert a.is_dir() and b.is_dir()  # 1.2 MB of 1 MB: all of it is read
    trainables.copies.lock_for_life.cache_clear()
    held = [os.open(a, os.O_RDONLY)]
    os.utime(a, (1, 1))
    trainables.copies.fcntl.flock(held[0], trainables.copies.fcntl.LOCK_SH)
    for descriptor in others(held):
        os.close(descriptor)
    at_hand(names[3])
    assert a.is_dir() and not b.is_dir()
    os.close(held[0])


def test_a_copy_that_is_under_way_stays_and_one_that_a_killed_process_began_goes(node, monkeypatch, tmp_path):
    monkeypatch.setenv("STILLHOUSE_LOCAL_GB", "0.001")
    node("first")
    begun, abandoned = (tmp_path / "first/corpora" / name for name in (".a.12345678", ".b.12345678"))
    for folder in (begun, abandoned):
        folder.mkdir(parents=True)
        (folder / "train.npy").write_bytes(b"x" * 900_000)
    with locked(begun):
        make_room(100_000)
    assert begun.is_dir() and not abandoned.is_dir()


def test_a_copy_that_is_deleted_as_it_is_found_is_fetched_again(node, monkeypatch, copied):
    node("first")
    name = shared(made("corpora/a"))
    node("second")
    at_hand(name)
    trainables.copies.lock_for_life.cache_clear()
    flock, gone = trainables.copies.fcntl.flock, []

    def late(file, mode):
        """Another process is quicker: what is locked here has just been deleted."""
        descriptor = file if isinstance(file, int) else file.fileno()
        if not gone and os.readlink(f"/proc/self/fd/{descriptor}").endswith("second/corpora/a"):
            gone.append(shutil.rmtree(cache_folder() / "corpora/a"))
        flock(descriptor, mode)

    monkeypatch.setattr(trainables.copies.fcntl, "flock", late)
    assert (at_hand(name) / "train.npy").read_bytes() == b"xxx"
    assert gone and sorted(copied) == ["meta.json", "meta.json", "train.npy", "train.npy"]


def others(kept):
    """Descriptors of this process that lead into a cache, but for those."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        number = int(entry.name)
        if number not in kept and entry.exists() and "/second/corpora/" in os.readlink(entry):
            found.append(number)
    return found


def test_a_value_is_found_once_for_all_nodes(node):
    found = []
    for name in ("first", "second"):
        node(name)
        value = cached_value(cache_folder() / "removal/key", lambda: found.append(1) or {"order": [3, 2]})
        assert value == {"order": [3, 2]}
        cached_value(cache_folder() / "fits/key", lambda: found.append(2) or {})
    assert found == [1, 2, 2]  # fits stay on their node


def test_a_teacher_that_lies_in_a_folder_is_found_on_every_node(node, tmp_path):
    own = tmp_path / "mine/my-teacher"
    shutil.copytree(EMBEDDED, own)
    write_embedder(own, Embedder(64, ("max",), steps=(Normalize(),)), 192)
    (own / "checkpoint-500").mkdir()
    (own / "checkpoint-500/config.json").write_text("{}")
    node("first")
    name = for_nodes(str(own))
    shutil.rmtree(own)
    node("second")
    teacher = load_teacher(name)
    assert teacher.facts.name == told_name(name) == "my-teacher" and name.startswith("cache:teachers/")
    assert teacher.facts.architecture == load_teacher(str(EMBEDDED)).facts.architecture
    assert embedder_of(teacher.model).pooling == ("max",) and not (at_hand(name) / "checkpoint-500").exists()
    assert for_nodes("package:trainables/embedded_teacher") == "package:trainables/embedded_teacher"


def test_what_is_wrong_with_a_home_is_told_before_anything_starts(node, monkeypatch, tmp_path):
    node("first")
    assert list(silent_home()) == [] and record_of(f"file://{tmp_path}/home/writable", FolderRecord).files == {}
    (tmp_path / "file").touch()
    node("first", f"file://{tmp_path}/file/home")
    (problem,) = silent_home()
    assert "the home of the cache does not answer" in problem and "STILLHOUSE_CACHE" in problem
    node("first", "nowhere://bucket")
    (problem,) = silent_home()
    assert "no filesystem for 'nowhere://bucket/writable'" in problem
    monkeypatch.setenv("STILLHOUSE_LOCAL_GB", "much")
    assert list(silent_home()) == ["STILLHOUSE_LOCAL_GB is 'much'; it is a number of gigabytes, such as 50"]
