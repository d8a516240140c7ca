"""The examples of docs/extending.md, as a package that is installed outside the tree, under the contracts."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
FILE = re.compile(r"^`([\w./]+)`:\n\n```(?:python|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONTRACTS = {
    "stillhouse.methods": "tests/trainables/losses/test_methods.py",
    "stillhouse.samplers": "tests/search/proposals/test_asktell.py",
}


def run(folder: Path, *words: str) -> str:
    """A command in a process of its own, from the root of the tree, that finds the package in `folder`."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "STILLHOUSE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def entries() -> dict[str, list[str]]:
    """The names that the package adds, by group."""
    files = dict(FILE.findall(PAGE.read_text(encoding="utf-8")))
    return {
        group: list(names) for group, names in tomllib.loads(files["pyproject.toml"])["project"]["entry-points"].items()
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The package's files, and the metadata that an installer writes."""
    folder = tmp_path_factory.mktemp("outside")
    files = dict(FILE.findall(PAGE.read_text(encoding="utf-8")))
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "stillhouse_extra" / "__init__.py").touch()
    info = folder / "stillhouse_extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stillhouse-extra\nVersion: 1.0\n")
    groups = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


def test_every_entry_keeps_the_contract_of_its_registry(installed, entries):
    assert entries.keys() == CONTRACTS.keys()
    names = [name for group in entries.values() for name in group]
    options = ("-v", "-p", "no:cacheprovider", "-k", " or ".join(names))
    printed = run(installed, "-m", "pytest", *options, *CONTRACTS.values())
    for group, file in CONTRACTS.items():
        for name in entries[group]:
            assert re.search(rf"^{re.escape(file)}::\S+\[\S*{name}\S*\] PASSED", printed, re.MULTILINE), (name, printed)


def test_a_spec_may_name_them(installed):
    assert "no problems" in run(installed, "-m", "search.cli", "check", str(installed / "extra.toml"))


def test_the_page_names_every_group_with_its_contract(entries):
    text = PAGE.read_text(encoding="utf-8")
    for group, file in CONTRACTS.items():
        assert f"`{group}`" in text and f"`{file}`" in text and (ROOT / file).is_file()
