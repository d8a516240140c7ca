"""What of the machine would stop any run is refused before anything starts, all at once."""

import pytest

from search.tune.environment import ROOT, refuse_machine, shadowing
from spaces.errors import SpecError


def test_everything_of_the_machine_at_once(monkeypatch, tmp_path):
    """A folder too long for the sockets of Ray, a module that workers would import instead, a home that is a file."""
    monkeypatch.chdir(ROOT)
    for name in ("RAY_TMPDIR", "TMPDIR", "STILLHOUSE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    refuse_machine()
    (tmp_path / "analysis").mkdir()  # a folder without __init__.py comes after packages
    assert not list(shadowing(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search.py").write_text("")
    monkeypatch.setenv("TMPDIR", "/" + "a" * 75)
    monkeypatch.setenv("HOME", str(tmp_path / "search.py"))
    with pytest.raises(SpecError) as caught:
        refuse_machine()
    shadow, cache, long = caught.value.problems
    assert "search.py has the name of a package" in shadow
    assert "search.py is no folder): set STILLHOUSE_CACHE" in cache
    assert long.startswith("TMPDIR has 76 characters") and long.endswith("export RAY_TMPDIR=/tmp")
    with pytest.raises(SpecError) as caught:
        refuse_machine("auto")
    assert caught.value.problems == (shadow, cache)
