"""Parts are whole or absent, on every filesystem."""

import errno
import json
import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from search.store.parts import Store, now
from spaces.errors import StillhouseError
from spaces.records.parts import part_name


def asked(trial):
    return {"trial": trial, "config_hash": f"{trial:016x}", "config": "{}", "seed": 0, "asked_at": now()}


@pytest.fixture(params=["local", "memory", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(tmp_path / "study", ["toy"])
    root = "memory:/" if request.param == "memory" else request.getfixturevalue("bucket")
    return Store(f"{root}/{tmp_path.name}/study", ["toy"])


def test_rows_come_back_in_the_order_of_trials(store):
    for trial in (3, 0, 12):
        store.write_part("asked", trial, [asked(trial)])
    store.write_part("trials", 3, [{"trial": 3, "status": "finished", "score_toy": 0.5}])
    assert [row["trial"] for row in store.read_rows("asked")] == [0, 3, 12]
    assert store.read_rows("trials")[0]["score_toy"] == 0.5
    assert store.read_rows("reports") == []


def test_texts(store):
    assert not store.is_study()
    store.write_text("spec.toml", "a = 1\n")
    assert store.is_study() and store.read_text("spec.toml") == "a = 1\n"
    store.write_text("study.json", "{")
    with pytest.raises(StillhouseError, match=r"study\.json is not valid JSON"):
        store.read_meta()
    with pytest.raises(StillhouseError, match=r"has no nothing\.txt"):
        store.read_text("nothing.txt")


def test_a_part_is_replaced_whole(store):
    store.write_part("trials", 1, [{"trial": 1, "status": "failed"}])
    store.write_part("trials", 1, [{"trial": 1, "status": "finished"}])
    assert [row["status"] for row in store.read_rows("trials")] == ["finished"]


def test_a_damaged_part_is_named_with_the_way_out(tmp_path):
    store = Store(tmp_path)
    store.write_part("asked", 1, [asked(1)])
    path = tmp_path / "asked" / part_name(1)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StillhouseError) as caught:
        store.read_rows("asked")
    assert str(path) in str(caught.value) and "mv " in str(caught.value) and "stillhouse resume" in str(caught.value)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, call, code):
    store = Store(tmp_path)
    store.write_part("asked", 1, [asked(1)])

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    monkeypatch.setattr("search.store.parts.PAUSES_S", (0.0, 0.0))
    with pytest.raises(StillhouseError, match="disk is full" if code == errno.ENOSPC else "cannot be written"):
        store.write_part("asked", 2, [asked(2)])
    assert os.listdir(tmp_path / "asked") == [part_name(1)]


def test_leftovers_of_a_killed_writer_are_not_parts(tmp_path):
    store = Store(tmp_path)
    store.write_part("asked", 1, [asked(1)])
    (tmp_path / "asked" / f".{part_name(2)}.99.tmp").write_bytes(b"half")
    (tmp_path / "asked" / f"{part_name(3)}.damaged").write_bytes(b"aside")
    assert store.numbers("asked") == [1]


def test_an_unknown_column_is_an_error(tmp_path):
    with pytest.raises(StillhouseError, match="no column 'colour'"):
        Store(tmp_path).write_part("asked", 1, [{**asked(1), "colour": "red"}])


def test_one_driver_at_a_time(tmp_path):
    with (
        Store(tmp_path).locked(),
        pytest.raises(StillhouseError, match="another stillhouse process"),
        Store(tmp_path).locked(),
    ):
        pass
    with Store(tmp_path).locked():
        pass


def test_a_filesystem_nobody_knows():
    with pytest.raises(StillhouseError, match="no filesystem for 'nosuch://x'"):
        Store("nosuch://x")


def test_an_explicit_filesystem(tmp_path):
    store = Store("study", filesystem=pa.fs.SubTreeFileSystem(str(tmp_path), pa.fs.LocalFileSystem()))
    store.write_part("asked", 4, [asked(4)])
    assert (tmp_path / "study" / "asked" / part_name(4)).is_file()
    assert store.read_rows("asked")[0]["trial"] == 4


@pytest.fixture
def hurried(monkeypatch):
    for name, value in {"RENEW_S": 0.1, "STALE_S": 1.0, "SETTLE_S": 0.05}.items():
        monkeypatch.setattr(f"search.store.lease.{name}", value)


def test_a_second_driver_is_refused_where_there_are_no_locks(tmp_path, hurried):
    folder, lines = f"memory://{tmp_path.name}/leased", []
    with Store(folder).locked():
        held = json.loads(Store(folder).read_text("lease.json"))
        with (
            pytest.raises(
                StillhouseError, match=rf"another stillhouse process .*leased: \S+, process {os.getpid()}, si"
            ),
            Store(folder).locked(lines.append),
        ):
            pass
        deadline = time.monotonic() + 10
        while json.loads(Store(folder).read_text("lease.json"))["renewed"] == held["renewed"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert "waiting up to 1 s" in lines[0]
    assert not Store(folder).exists("lease.json")
    with Store(folder).locked(lines.append):
        assert len(lines) == 1


def test_a_lease_that_nobody_renews_is_taken_over_and_its_late_owner_writes_no_more(tmp_path, hurried, monkeypatch):
    folder = f"memory://{tmp_path.name}/stale"
    monkeypatch.setattr("search.store.lease.RENEW_S", 600.0)  # it sleeps: the lease is stale by then
    first = Store(folder)
    with first.locked():
        first.write_part("asked", 1, [asked(1)])
        started = time.monotonic()
        with Store(folder).locked():
            assert time.monotonic() - started > 1.0
            first._lease.renew()
            with pytest.raises(StillhouseError, match=f"process {os.getpid()} has taken over the study"):
                first.write_part("asked", 2, [asked(2)])
    assert Store(folder).numbers("asked") == [1]


def test_a_damaged_lease_is_a_lease(tmp_path, hurried):
    store = Store(f"memory://{tmp_path.name}/damaged")
    store.write_text("lease.json", "{")
    lines = []
    with store.locked(lines.append):
        assert "somebody holds" in lines[0]


def test_folders_are_measured_and_removed(store):
    assert store.size_bytes("students") == 0 and store.folders("students") == []
    store.remove("students", "00001")
    for name in ("students/00001/config.json", "students/00001/deep/model.bin", "students/00002/config.json"):
        store.filesystem.create_dir(store.path(name).rpartition("/")[0], recursive=True)
        store.write_text(name, "12345")
    assert store.size_bytes("students", "00001") == 10 and store.folders("students") == ["00001", "00002"]
    store.remove("students", "00001")
    assert store.folders("students") == ["00002"] and store.size_bytes("students") == 5


def test_what_is_no_number_is_null_and_all_parts_have_one_schema(tmp_path):
    """Also where a column is empty at first: DuckDB and others take the types of the first part for all."""
    store = Store(tmp_path, ["toy"])
    empty = {"trial": 0, "status": "failed", "loss_last": float("nan"), "score_toy": np.float64("nan"), "reason": None}
    full = {"trial": 1, "status": "finished", "loss_last": 0.25, "score_toy": 0.1234567890123, "steps": 2**40}
    for row in (empty, full):
        store.write_part("trials", row["trial"], [row])
    parts = [pq.read_table(path) for path in sorted((tmp_path / "trials").iterdir())]
    assert parts[0].schema.equals(parts[1].schema, check_metadata=True)
    assert parts[0]["loss_last"].null_count == parts[0]["score_toy"].null_count == 1
    merged = pa.concat_tables(parts)
    assert pc.max(merged["score_toy"]).as_py() == 0.1234567890123
    assert [row["loss_last"] for row in store.read_rows("trials")] == [None, 0.25]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    wanted = pytest.raises(StillhouseError, match=r"cannot be written .*give another one")
    with wanted, Store(tmp_path / "file/a").locked():
        pass
