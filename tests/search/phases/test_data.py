"""`check` looks at corpus and tasks, and finds what is wrong with them together with everything else."""

import json
import tomllib

import pytest

from search.phases.data import look_at, prepare_data
from search.phases.description import describe
from search.spec.checks import check_all
from spaces.errors import SpecError
from trainables.models.teacher import load_teacher, read_facts

SPEC = """
[teacher]
path = "package:trainables/embedded_teacher"
[corpus]
source = "text"
[budget]
trials = 4
train_tokens = 10_000
[space]
method = ["hs"]
shape = ["2x96"]
learning_rate = [1e-3]
[[tasks]]
name = "news"
source = "news"
kind = "classification"
"""
GREEK = "αβγ "


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """A corpus of two files of which a tenth cannot be read, and a task whose dev is not full."""
    (tmp_path / "text").mkdir()
    for name in ("a", "b", "test"):
        lines = [f"Number {i} of {name} is about a river. {GREEK * (i % 10 == 0)}" for i in range(300)]
        (tmp_path / f"text/{name}.txt").write_text("\n".join(lines))
    (tmp_path / "news").mkdir()
    for split, count in (("train", 30), ("dev", 4)):
        rows = [{"text": f"{split} text {i}", "label": "abc"[i % (3 if split == "train" else 2)]} for i in range(count)]
        (tmp_path / f"news/{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def checked(folder, text=SPEC):
    seen = []
    study = check_all(
        tomllib.loads(text), folder, None, read_facts, lambda *doors: seen.append(look_at(*doors))
    )  # fmt: skip
    return study, seen[0]


def test_what_is_looked_at_is_what_is_prepared(folder):
    study, seen = checked(folder)
    said = []
    data = prepare_data(study.spec, load_teacher(study.spec.teacher.path), said.append)
    assert seen.tasks == data.facts.tasks
    assert seen.corpus.files == data.facts.corpus.files == {"train": ("a.txt", "b.txt"), "test": ("test.txt",)}
    assert seen.corpus.tokens == pytest.approx(data.facts.corpus.tokens, rel=0.1)
    assert seen.corpus.unknown[""] == pytest.approx(data.facts.corpus.unknown[""], rel=0.3)
    assert 0.005 < data.facts.corpus.unknown[""] < 0.1
    lines = describe(study, seen)
    assert "task     news: classification by probe; train 30, dev 4; 3 classes" in lines
    assert "task news: dev has no row of c" in said and "task news: dev has no row of c" in lines
    assert any("unknown to the tokenizer" in line for line in said)


def test_everything_that_is_wrong_at_once(folder):
    (folder / "text/b.txt").write_bytes(b"good\ncaf\xe9\n")
    (folder / "news/dev.jsonl").write_text('{"text": 5, "label": "a"}\n{"text": "x", "label": "z"}\n')
    text = SPEC.replace("trials = 4", "trials = 0") + '\n[[tasks]]\nname = "none"\nsource = "nosuch"\nkind = "sts"\n'
    with pytest.raises(SpecError) as caught:
        checked(folder, text)
    wanted = [
        "[budget] trials must be at least 1",
        "b.txt, line 2: not UTF-8 text",
        "column 'text', row 0 is 5, not a text",
        "column 'label', row 1 is 'z', not one of a, b, c",
        "no file",
    ]
    assert all(any(each in problem for problem in caught.value.problems) for each in wanted), str(caught.value)
    assert len(caught.value.problems) == len(wanted)
    with pytest.raises(SpecError, match="no such file or folder"):
        checked(folder, SPEC.replace('"text"', '"texts"'))
