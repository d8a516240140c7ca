"""The task kind of docs/extending.md: what it scores, and a spec that names every entry of the page."""

import os
from pathlib import Path

import numpy as np
import pytest
from small_tasks import make_bert, make_tokenizer, texts, write

from search.cli.main import main
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

FOLDER = Path(os.environ.get("STILLHOUSE_OUTSIDE", "."))
"""Where the package lies, with its spec."""


@pytest.fixture(scope="module")
def similar():
    """The task that the spec of the page names: pairs of texts, and how many words they share."""
    rng = np.random.default_rng(0)
    first, second = texts(40, rng), texts(40, rng)
    alike = [len(set(a.split()) & set(b.split())) for a, b in zip(first, second, strict=True)]
    write(FOLDER / "tasks" / "sts", dev={"text": first, "text2": second, "label": alike})
    return TaskSpec("sts", str(FOLDER / "tasks" / "sts"), "similarity")


def test_outside_kind_follows_the_words_that_two_texts_share(similar, tmp_path):
    task = load_task(prepare_task(similar, make_tokenizer(), tmp_path / "prepared"))
    found = score_task(make_bert(), task, EvaluationSpec(), ["dev"], 0)["dev"]
    assert (found.protocol, found.metric) == ("zero_shot", "spearman") and found.score > 0.3


def test_outside_entries_may_all_stand_in_a_spec(similar, capsys):
    assert main(["check", str(FOLDER / "extra.toml")]) == 0
    assert "no problems" in capsys.readouterr().out
