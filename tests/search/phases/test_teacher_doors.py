"""What `check` opens of a teacher, and what is said of its head and its tokenizer."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch

from search.cli.main import main
from search.phases.teacher_doors import head_lines
from spaces.space.reading import read_space
from trainables.models.teacher import load_teacher
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec

EMBEDDED = Path(__file__).parents[3] / "trainables/embedded_teacher"
SPEC = """
[teacher]
path = "teacher"
[corpus]
source = "text.txt"
sequence_length = 16
[space]
method = ["hs"]
shape = ["2x96"]
[[tasks]]
name = "x"
source = "rows"
kind = "classification"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A spec whose teacher a test may spoil."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(EMBEDDED, tmp_path / "teacher")
    (tmp_path / "text.txt").write_text("\n".join(f"Some words of line {i} in a text" for i in range(300)))
    (tmp_path / "rows").mkdir()
    for split in ("train", "dev"):
        rows = [json.dumps({"text": f"{split} {i}", "label": i % 2}) for i in range(20)]
        (tmp_path / f"rows/{split}.jsonl").write_text("\n".join(rows))
    (tmp_path / "own.toml").write_text(SPEC)
    return tmp_path


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def checked(project, capsys) -> tuple[int, str]:
    started = time.monotonic()
    code = main(["check", str(project / "own.toml")])
    assert time.monotonic() - started < 15
    said = capsys.readouterr()
    return code, said.out + said.err


def test_check_opens_weights_tokenizer_and_start(project, capsys):
    assert checked(project, capsys)[0] == 0
    change(project / "teacher/config.json", num_hidden_layers=7)
    shutil.copytree(EMBEDDED, project / "start")
    weights = project / "start/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    spec = (project / "own.toml").read_text()
    (project / "own.toml").write_text(spec + '[training]\nstart = "start"\n')
    code, text = checked(project, capsys)
    assert code == 2 and "16 of 124 weights are not in the file, the first is bert.encoder.layer.6" in text
    assert "[training] start" in text and "model.safetensors is damaged or incomplete" in text


def test_a_folder_without_a_tokenizer(project, capsys):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (project / "teacher" / name).unlink()
    code, text = checked(project, capsys)
    assert code == 2 and text.count("no tokenizer in that folder") == 1


def test_a_tokenizer_without_a_fast_version(project, capsys):
    (project / "teacher/tokenizer.json").unlink()
    (project / "teacher/vocab.txt").write_text("a 1\nb 1\n")
    (project / "teacher/bpe.codes").write_text("a b 1\n")
    change(project / "teacher/tokenizer_config.json", tokenizer_class="PhobertTokenizer")
    code, text = checked(project, capsys)
    assert code == 2 and "its tokenizer PhobertTokenizer has no fast version" in text


def test_a_tokenizer_that_names_no_mask_or_padding(project, capsys):
    """The model says which token pads; nothing says which one masks."""
    path = project / "teacher/tokenizer_config.json"
    raw = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps({key: value for key, value in raw.items() if key not in ("mask_token", "pad_token")}))
    assert load_teacher(str(project / "teacher")).tokenizer.pad_token == "[PAD]"
    assert checked(project, capsys)[0] == 0
    (project / "own.toml").write_text(SPEC.replace('"hs"', '"hs", "mlm"'))
    code, text = checked(project, capsys)
    assert code == 2 and "[space] method 'mlm' masks words, and the teacher's tokenizer has no mask token" in text


def test_a_cased_tokenizer_that_transformers_reads_in_lower_case_is_told_of(project, capsys):
    """A BERT folder whose tokenizer_config.json does not say `do_lower_case: false`."""
    path = project / "teacher/tokenizer.json"
    raw = json.loads(path.read_text())
    raw["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(raw))
    change(project / "teacher/tokenizer_config.json", tokenizer_class="BertTokenizer")
    code, text = checked(project, capsys)
    assert code == 0 and '"do_lower_case": false in tokenizer_config.json keeps capitals' in text
    change(project / "teacher/tokenizer_config.json", do_lower_case=False)
    assert "warning: transformers cuts" not in checked(project, capsys)[1]


def test_a_head_that_was_never_trained_is_told_from_one_that_was(project):
    teacher = load_teacher(str(project / "teacher"))
    documents = sorted((EMBEDDED.parents[1] / "docs").rglob("*.md"))
    (project / "text").mkdir()
    for name, part in {"train": documents[:1], "dev": documents}.items():
        (project / f"text/{name}.txt").write_text("\n".join(path.read_text() for path in part))
    corpus = open_corpus(prepare_corpus(CorpusSpec(str(project / "text"), 64), teacher.tokenizer))
    od, hs = (read_space({"method": [method], "shape": ["2x96"]}, teacher.facts, 16) for method in ("od", "hs"))
    assert head_lines(hs, teacher, corpus) == []
    (line,) = head_lines(od, teacher, corpus)
    assert line.startswith("masked-LM head of the teacher: ")
    random = load_teacher(str(project / "teacher"))
    with torch.no_grad():
        random.model.cls.predictions.transform.dense.weight.normal_()
    shutil.rmtree(project / "cache/heads")
    (line,) = head_lines(od, random, corpus)
    assert line.startswith("warning: masked-LM head of the teacher: ") and "od learns from nothing else" in line
