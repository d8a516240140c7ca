"""A vocabulary is cut to a corpus and to tasks, and what becomes of the texts of each is said."""

import json

import datasets
import pytest
from transformers.utils import logging

from search.cli.main import main
from search.phases.trimming import cut_alike, sources_of_spec, trim_teacher
from trainables.models.teacher import load_teacher

SPEC = """
[teacher]
path = "package:trainables/embedded_teacher"
[corpus]
source = "text.txt"
[budget]
[space]
method = "hs"
[[tasks]]
name = "news"
source = "news"
kind = "classification"
[[tasks]]
name = "words"
source = "words"
kind = "token_classification"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(f"The function returns value {i}." for i in range(100)))
    rows = {
        "news": [{"text": f"A tensor of gradients, number {i}", "label": i % 2} for i in range(12)],
        "words": [{"tokens": ["sparse", f"matrix{i}"], "label": ["A", "B"]} for i in range(12)],
    }
    for task, each in rows.items():
        (tmp_path / task).mkdir()
        for split, part in (("train", each[:6]), ("dev", each[6:10]), ("test", each[10:])):
            (tmp_path / f"{task}/{split}.jsonl").write_text("\n".join(map(json.dumps, part)))
    (tmp_path / "my.toml").write_text(SPEC)
    return tmp_path


def test_tasks_are_kept_as_well(folder):
    teacher, sources = sources_of_spec(str(folder / "my.toml"), print)
    assert {name: len(texts) for name, texts in sources.items()} == {"corpus": 100, "task news": 10, "task words": 10}
    assert sources["task words"][0] == "sparse matrix0"
    said = []
    trim_teacher(teacher, sources, None, folder / "all", said.append)
    assert [line.split(": ")[1][:6] for line in said[2:5]] == ["100.0%"] * 3
    card = (folder / "all" / "README.md").read_text()
    assert 'license: "apache-2.0"' in card and "pieces" in card
    trim_teacher(teacher, {"corpus": sources["corpus"]}, None, folder / "corpus", said.append)
    before, small = (load_teacher(path).tokenizer for path in (teacher, str(folder / "corpus")))
    assert cut_alike(before, small, sources["corpus"]) == 1.0
    assert cut_alike(before, small, sources["task news"]) < 0.5


def test_bars_of_other_libraries_are_not_shown(folder, monkeypatch, capfd):
    """Those of transformers (weights read and written), huggingface_hub and datasets (a data set prepared), all on."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    datasets.enable_progress_bars()
    logging.enable_progress_bar()
    model = load_teacher("package:trainables/embedded_teacher").model
    model.save_pretrained(folder / "model")
    assert "100%" in capfd.readouterr().err  # so this library draws one where nobody looks
    spec = SPEC.replace("text.txt", f"hub:{folder}/news").replace("package:trainables/embedded_teacher", "model")
    tokenizer = load_teacher("package:trainables/embedded_teacher").tokenizer
    tokenizer.save_pretrained(folder / "model")
    (folder / "hub.toml").write_text(spec)
    capfd.readouterr()
    assert main(["trim", str(folder / "small"), "--spec", str(folder / "hub.toml")]) == 0
    out, err = capfd.readouterr()
    assert not err and "%|" not in out and "news: from the hub" in out and "news: 100.0% of 10 texts" in out
    assert datasets.is_progress_bar_enabled() and logging.is_progress_bar_enabled()


def test_what_to_trim_to_must_be_said(tmp_path, capsys):
    assert main(["trim", str(tmp_path / "new")]) == 2
    assert "--spec SPEC" in capsys.readouterr().err
