import os
import sys

import pytest

from spaces.errors import SpecError, StillhouseError, choose
from spaces.registry import Registry


def outside(tmp_path, monkeypatch, points, code="NUMBER = 3\nWORD = 'x'\n"):
    """A package that is installed outside the tree: a module and the metadata that names its entry points."""
    (tmp_path / "outside_entries.py").write_text(code)
    info = tmp_path / "outside_entries-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-entries\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stillhouse.tests]\n" + points)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_own_entries_keep_their_order_and_load_late(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    table = Registry(str, "stillhouse.tests", {"zen": "this:s", "os": "os:name"})
    assert list(table) == ["zen", "os"] and "zen" in table and "this" not in sys.modules
    assert table["os"] == os.name


def test_packages_outside_add_entries(tmp_path, monkeypatch):
    outside(tmp_path, monkeypatch, "three = outside_entries:NUMBER\n")
    table = Registry(int, "stillhouse.tests", {"one": 1})
    assert dict(table) == {"one": 1, "three": 3}
    with pytest.raises(SpecError, match=r"unknown number 'thre'\. Did you mean 'three'"):
        choose("number", table, "thre")


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        ("three = outside_entries:GONE\n", "'three' of stillhouse.tests cannot be loaded from outside_entries:GONE"),
        ("three = nowhere_at_all:NUMBER\n", "cannot be loaded from nowhere_at_all:NUMBER"),
        ("three = outside_entries:WORD\n", "must be of type int, got str"),
    ],
)
def test_what_cannot_be_used_is_said_when_it_is_asked_for(tmp_path, monkeypatch, points, problem):
    outside(tmp_path, monkeypatch, points)
    table = Registry(int, "stillhouse.tests", {"one": 1})
    assert table["one"] == 1
    with pytest.raises(StillhouseError, match=problem):
        table["three"]


def test_a_name_that_is_taken_is_refused(tmp_path, monkeypatch):
    outside(tmp_path, monkeypatch, "one = outside_entries:NUMBER\n")
    with pytest.raises(StillhouseError, match="that name is taken"):
        Registry(int, "stillhouse.tests", {"one": 1})
