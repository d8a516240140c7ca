"""The examples of docs/extending.md, as a package that is installed outside the tree, under the contracts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from extra_package import ENTRIES, PAGE, install

ROOT = Path(__file__).parents[1]
CONTRACTS = {
    "stillhouse.families": "tests/trainables/models/test_families.py",
    "stillhouse.methods": "tests/trainables/losses/test_methods.py",
    "stillhouse.tasks": "tests/trainables/tasks/test_kinds.py",
    "stillhouse.costs": "tests/trainables/export/test_costs.py",
    "stillhouse.samplers": "tests/search/samplers/test_samplers.py",
}


TABLES = ("stillhouse.tasks",)
"""Groups whose contract needs an example for each entry; what is added here has a test of its own below."""
SIMILAR = """
import sys
from pathlib import Path

import numpy as np
from search.cli.main import main
from small_tasks import make_bert, make_tokenizer, texts, write

from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

here, rng = Path(sys.argv[1]), np.random.default_rng(0)
first, second = texts(40, rng), texts(40, rng)
alike = [len(set(a.split()) & set(b.split())) for a, b in zip(first, second, strict=True)]
write(here / "tasks" / "sts", dev={"text": first, "text2": second, "label": alike})
spec = TaskSpec("sts", str(here / "tasks" / "sts"), "similarity")
task = load_task(prepare_task(spec, make_tokenizer(), here / "cache"))
found = score_task(make_bert(), task, EvaluationSpec(), ["dev"], 0)["dev"]
print(found.protocol, found.metric, found.score > 0.3)
sys.exit(main(["check", str(here / "extra.toml")]))
"""


def run(folder: Path, *words: str) -> str:
    """A command in a process of its own, from the root of the tree, that finds the package in `folder`."""
    path = os.pathsep.join(map(str, (folder, ROOT, ROOT / "tests" / "trainables")))
    environment = os.environ | {"PYTHONPATH": path, "STILLHOUSE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds the package."""
    folder = tmp_path_factory.mktemp("outside")
    install(folder)
    return folder


def test_every_entry_keeps_the_contract_of_its_registry(installed):
    assert ENTRIES.keys() == CONTRACTS.keys()
    contracts = {group: file for group, file in CONTRACTS.items() if group not in TABLES}
    names = [name for group in contracts for name in ENTRIES[group]]
    options = ("-v", "-p", "no:cacheprovider", "-k", " or ".join(names))
    printed = run(installed, "-m", "pytest", *options, *contracts.values())
    for group, file in contracts.items():
        for name in ENTRIES[group]:
            assert re.search(rf"^{re.escape(file)}::\S+\[\S*{name}\S*\] PASSED", printed, re.MULTILINE), (name, printed)


def test_the_task_kind_follows_the_words_that_two_texts_share_and_a_spec_may_name_all(installed):
    first, checked = run(installed, "-c", SIMILAR, str(installed)).split("\n", 1)
    assert first.split() == ["zero_shot", "spearman", "True"] and "no problems" in checked


def test_the_page_names_every_group_with_its_contract():
    text = PAGE.read_text(encoding="utf-8")
    for group, file in CONTRACTS.items():
        assert f"`{group}`" in text and f"`{file}`" in text and (ROOT / file).is_file()
