"""Packages that are installed outside the tree: the examples of docs/extending.md under the contracts, and others."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from extra_package import ENTRIES, PAGE, install

ROOT = Path(__file__).parents[1]
OUTSIDE = ROOT / "tests/trainables/outside"
"""Tests for a process that has the packages."""
CONTRACTS = {
    "stillhouse.families": "tests/trainables/models/test_families.py",
    "stillhouse.methods": "tests/trainables/losses/test_methods.py",
    "stillhouse.tasks": "tests/trainables/tasks/test_kinds.py",
    "stillhouse.costs": "tests/trainables/export/test_costs.py",
    "stillhouse.samplers": "tests/search/samplers/test_samplers.py",
}
TABLES = ("stillhouse.tasks",)
"""Groups whose contract needs an example for each entry; what is added here has a test of its own in OUTSIDE."""


def install_another(folder: Path) -> None:
    """A second package: a method with its signal, and two kinds of tasks."""
    for file in (OUTSIDE / "outside_method.py", OUTSIDE / "outside_kinds.py", ROOT / "tests/trainables/pooled.py"):
        shutil.copy(file, folder)
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[stillhouse.methods]\npooled = outside_method:METHOD\n\n"
        "[stillhouse.tasks]\nalike = outside_kinds:STS\nfinding = outside_kinds:RETRIEVAL\n"
    )


def test_every_entry_keeps_the_contract_of_its_registry_and_works(tmp_path):
    assert ENTRIES.keys() == CONTRACTS.keys()
    install(tmp_path)
    install_another(tmp_path)
    contracts = {group: file for group, file in CONTRACTS.items() if group not in TABLES}
    names = [name for group in contracts for name in ENTRIES[group]]
    outside = [f"tests/trainables/outside/{name}.py" for name in ("cost", "kinds", "method", "task")]
    options = ("-v", "-p", "no:cacheprovider", "-k", " or ".join([*names, "outside_"]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *contracts.values(), *outside], cwd=ROOT, capture_output=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "STILLHOUSE_OUTSIDE": str(tmp_path)},
        text=True, timeout=600,
    )  # fmt: skip
    printed = done.stdout
    assert done.returncode == 0, printed + done.stderr
    for group, file in contracts.items():
        for name in ENTRIES[group]:
            assert re.search(rf"^{re.escape(file)}::\S+\[\S*{name}\S*\] PASSED", printed, re.MULTILINE), (name, printed)
    for file in outside:
        assert f"{file}::test_outside_" in printed


def test_the_page_names_every_group_with_its_contract():
    text = PAGE.read_text(encoding="utf-8")
    for group, file in CONTRACTS.items():
        assert f"`{group}`" in text and f"`{file}`" in text and (ROOT / file).is_file()
