"""Rows of many trials in one file: whoever reads, and whenever the driver is killed, each row is there once."""

import itertools

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from search.store import packing
from search.store.parts import Store, now
from spaces.errors import StillhouseError
from spaces.records.columns import reports_columns
from spaces.records.parts import dataset_files, read_dataset


class Killed(Exception):
    pass


class Watched(pafs.FSSpecHandler):
    """Calls `look` before each operation, which may read, write or raise."""

    def __init__(self, handler, look):
        super().__init__(handler.fs)
        self.look = look

    def open_output_stream(self, path, metadata):
        self.look("write", path)
        return super().open_output_stream(path, metadata)

    def delete_file(self, path):
        self.look("delete", path)
        return super().delete_file(path)

    def get_file_info_selector(self, selector):
        found = super().get_file_info_selector(selector)
        self.look("list", selector.base_dir)
        return found


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(packing, "PACK_TRIALS", 4)
    monkeypatch.setattr(packing, "LOOSE", 8)
    monkeypatch.setattr(packing, "READERS", 1)


def reports(trial, count=2):
    return [{"trial": trial, "step": step, "train_tokens": 10 * step, "loss": 1.0} for step in range(count)]


def steps_of(store):
    """What a reader sees: (trial, step) of every report, in the order of reading."""
    return [(row["trial"], row["step"]) for row in store.read_rows("reports")]


def expected(counts):
    return [(trial, step) for trial in sorted(counts) for step in range(counts[trial])]


def files_of(store):
    files = dataset_files(store.filesystem, store.path("reports"))
    return [info.base_name for info in files.packs], sorted(files.by_number)


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_study_grows_in_packs_and_is_read_as_before(where, request, tmp_path, monkeypatch):
    monkeypatch.setattr("search.store.lease.SETTLE_S", 0.01)
    store = Store(tmp_path if where == "local" else f"{request.getfixturevalue('bucket')}/{tmp_path.name}/packed")
    counts = {}
    with store.locked():
        for trial in range(21):
            store.write_part("reports", trial, reports(trial))
            counts[trial] = 2
            assert trial % 7 or steps_of(store) == expected(counts)
        packs, loose = files_of(store)
        assert packs == [f"pack-{n:05d}-{n + 3:05d}.parquet" for n in (0, 4, 8, 12)] and loose == [16, 17, 18, 19, 20]
        for trial, count in ((5, 3), (5, 4), (16, 3)):  # a trial of a pack that is taken up again
            store.write_part("reports", trial, reports(trial, count))
            counts[trial] = count
        assert files_of(store) == (packs, [5, 16, 17, 18, 19, 20]) and steps_of(store) == expected(counts)
        assert store.numbers("reports") == list(range(21))
    assert files_of(store) == (packs, [16, 17, 18, 19, 20]) and steps_of(store) == expected(counts)
    some = read_dataset(store.filesystem, store.path("reports"), reports_columns(), {}, {6, 17})
    assert {6, 17} <= set(some["trial"].to_pylist()) <= {4, 5, 6, 7, 17}


def test_many_parts_of_an_earlier_version_are_packed_when_a_driver_opens_the_study(tmp_path):
    store = Store(tmp_path)
    for trial in range(11):
        store.write_part("reports", trial, reports(trial))
    store.write_part("test_scores", 3, [])
    before = store.read_rows("reports")
    with store.locked():
        assert files_of(store)[1] == [8, 9, 10]
    assert store.read_rows("reports") == before and store.numbers("test_scores") == [3]


def test_whoever_reads_and_whenever_the_driver_is_killed_each_row_is_there_once(tmp_path):
    """Every operation of packing is the last one in turn; before each, somebody reads."""
    counts = {trial: 3 if trial in (2, 5) else 2 for trial in range(15)}
    for last in itertools.count():
        plain = Store(f"memory://{tmp_path.name}/{last}")
        for trial in range(9):
            plain.write_part("reports", trial, reports(trial))
        pack(plain, plain)
        for trial in (2, 5, *range(9, 15)):  # two of them in packs
            plain.write_part("reports", trial, reports(trial, counts[trial]))
        seen = []

        def look(what, path, plain=plain, seen=seen, last=last):
            if "/reports" in path:
                if len(seen) == last:
                    raise Killed
                seen.append(what)
                assert steps_of(plain) == expected(counts), seen

        try:
            pack(plain, Store(plain.root, filesystem=pafs.PyFileSystem(Watched(plain.filesystem.handler, look))))
        except Killed:
            assert steps_of(plain) == expected(counts), seen
            pack(plain, plain)
            assert steps_of(plain) == expected(counts), seen
        else:
            break
    assert seen.count("write") == 3 and seen.count("delete") == 6
    assert files_of(plain) == ([f"pack-{n:05d}-{n + 3:05d}.parquet" for n in (0, 4, 8)], [12, 13, 14])


def pack(store, driver):
    packing.Packing(driver.filesystem, store.root, driver._write_table, lambda: None).rest()


def test_a_listing_that_misses_a_pack_which_is_written_meanwhile(tmp_path):
    """Whatever is packed while a reader lists: between its listings, and before it reads."""
    for moment in range(3):
        plain = Store(f"memory://{tmp_path.name}/{moment}")
        for trial in range(7):
            plain.write_part("reports", trial, reports(trial))
        listings = []

        def look(what, path, plain=plain, listings=listings, moment=moment):
            if what == "list":
                listings.append(path)
                if len(listings) == moment + 1:
                    for trial in (7, 8):
                        plain.write_part("reports", trial, reports(trial))
                    pack(plain, plain)

        reader = Store(plain.root, filesystem=pafs.PyFileSystem(Watched(plain.filesystem.handler, look)))
        kept = {}
        for _ in range(2):
            table = read_dataset(reader.filesystem, reader.path("reports"), reports_columns(), kept)
            seen = list(zip(table["trial"].to_pylist(), table["step"].to_pylist(), strict=True))
            assert seen[:14] == expected(dict.fromkeys(range(7), 2)) and len(seen) == len(set(seen))


def test_what_cannot_be_packed_stays_and_columns_of_other_versions_too(tmp_path):
    store = Store(tmp_path)
    for trial in range(11):
        store.write_part("reports", trial, reports(trial))
    more = tmp_path / "reports/part-00001.parquet"
    pq.write_table(pq.read_table(more).append_column("colour", [["red", "blue"]]), more)
    damaged = tmp_path / "reports/part-00006.parquet"
    damaged.write_bytes(damaged.read_bytes()[:50])
    with store.locked():
        pass
    assert pq.read_table(tmp_path / "reports/pack-00000-00003.parquet")["colour"].to_pylist() == [
        None, None, "red", "blue", None, None, None, None
    ]  # fmt: skip
    assert files_of(store)[1] == [4, 5, 6, 7, 8, 9, 10]
    with pytest.raises(StillhouseError, match=r"part-00006\.parquet is damaged"):
        store.read_rows("reports")


def test_another_driver_that_has_taken_over_keeps_its_files(tmp_path, monkeypatch):
    store = Store(f"memory://{tmp_path.name}/taken")
    monkeypatch.setattr("search.store.lease.SETTLE_S", 0.01)
    for trial in range(8):
        store.write_part("asked", trial, [{"trial": trial, "config_hash": "", "config": "{}", "asked_at": now()}])

    def lost():
        raise StillhouseError("taken over")

    with pytest.raises(StillhouseError, match="taken over"), store.locked():
        store._lease.check = lost
        store._packing.check = lost
        store.write_part("asked", 8, [{"trial": 8, "config_hash": "", "config": "{}", "asked_at": now()}])
    assert len(store.numbers("asked")) == 8
