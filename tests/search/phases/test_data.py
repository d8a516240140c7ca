"""`check` looks at corpus and tasks, and finds what is wrong with them together with everything else."""

import json

import pyarrow.fs as pafs
import pytest

from search.phases.data import prepare_data
from search.phases.description import describe
from search.phases.doors import open_doors
from spaces.errors import SpecError, StillhouseError
from spaces.records.filesystems import open_filesystem
from trainables.models.teacher import load_teacher
from trainables.text import files
from trainables.text.held_out import hold_out

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
    (folder / "own.toml").write_text(text)
    seen = open_doors(str(folder / "own.toml"))
    return seen.study, seen.data


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


def test_doors_beside_those_of_data_are_opened_with_them(folder, monkeypatch):
    """A corpus that fills no block, studies to learn from that are none, and what of the machine would stop any run."""
    for name in ("a", "b"):
        (folder / f"text/{name}.txt").write_text("a few words\n")
    (folder / "analysis.py").write_text("")
    monkeypatch.chdir(folder)
    with pytest.raises(SpecError) as caught:
        checked(folder)
    short, shadow = sorted(caught.value.problems, key=lambda line: "analysis.py" in line)
    assert "part is shorter than one block of 128 tokens" in short
    assert "analysis.py has the name of a package of stillhouse" in shadow
    (folder / "analysis.py").unlink()
    for name in ("a", "b"):
        (folder / f"text/{name}.txt").write_text("\n".join(f"a few words of line {i} in {name}" for i in range(200)))
    with pytest.raises(SpecError, match="earlier is not a study folder"):
        checked(folder, SPEC + '[search]\nwarm_start = ["earlier"]\n')


def test_repeats_of_a_text_that_is_held_out_are_told(folder):
    own = [f"Number {i} is about a river." for i in range(300)]
    page = next(text for text in own if text in hold_out(own, 1024)[1])
    (folder / "text/a.txt").write_text("\n".join([*own, *[page] * 40]))
    for name in ("b", "test"):
        (folder / f"text/{name}.txt").unlink()
    study, seen = checked(folder)
    data = prepare_data(study.spec, load_teacher(study.spec.teacher.path), lambda line: None)
    assert seen.corpus.left_out_texts == data.facts.corpus.left_out_texts == 40
    assert any("40 texts neither train nor are held out" in line for line in describe(study, seen))


def test_facts_of_the_docs_are_remembered(folder, monkeypatch):
    texts = [f"{n} words {n} that stand in an order of their own" for n in range(40)]
    given = {"text": texts, "label": [0, 1] * 20, "label_names": ["a", "b"]}
    read = []
    monkeypatch.setattr("search.phases.data_doors.docs_are_built", lambda: True)
    monkeypatch.setattr(
        "trainables.tasks.reading.sources.docs_task", lambda name: read.append(name) or {"train": given}
    )  # fmt: skip
    text = SPEC.replace('"news"\nsource = "news"', '"order"\nsource = "docs:order"')
    first, again = (checked(folder, text)[1].tasks["order"] for _ in range(2))
    assert first == again and first.rows == {"train": 36, "dev": 4} and read == ["order"]
    monkeypatch.setattr("search.phases.data_doors.docs_are_built", lambda: False)
    with pytest.raises(SpecError, match="unknown docs task 'orders'"):
        checked(folder, text.replace("docs:order", "docs:orders"))


@pytest.mark.parametrize("store", ["bucket", "gs_bucket"])
def test_what_lies_in_a_store_is_looked_at_as_on_a_disk(store, folder, request, monkeypatch):
    bucket = request.getfixturevalue(store)
    for name in ("text", "news"):
        filesystem, root = open_filesystem(f"{bucket}/{folder.name}/{name}")
        pafs.copy_files(str(folder / name), root, destination_filesystem=filesystem)
    monkeypatch.setenv("DATA", f"{bucket}/{folder.name}")
    _, here = checked(folder)
    stored = SPEC.replace('source = "text"', 'source = "$DATA/text"').replace(
        'source = "news"', 'source = "$DATA/news"'
    )
    study, there = checked(folder, stored)
    assert there == here and study.spec.corpus.source == f"{bucket}/{folder.name}/text"
    assert study.spec.tasks[0].source == f"{bucket}/{folder.name}/news"
    teacher = load_teacher(study.spec.teacher.path)
    prepared, local = (prepare_data(each.spec, teacher, print) for each in (study, checked(folder)[0]))
    assert prepared.facts == local.facts and prepared.tasks == local.tasks  # the same folder, for rows are its name
    wrong = stored.replace("$DATA/text", "$DATA/txt").replace("$DATA/news", "s3://tasks/news")
    request.getfixturevalue("bucket")
    with pytest.raises(SpecError) as caught:
        checked(folder, wrong.replace("trials = 4", "trials = 0"))
    assert len(caught.value.problems) == 3
    assert f"[corpus] source '{bucket}/{folder.name}/txt': no such bucket, folder or object" in caught.value.problems
    assert "task 'news': no such bucket or folder: s3://tasks/news" in caught.value.problems


def test_a_uri_without_a_bucket_is_told_and_not_opened(folder, bucket):
    wrong = SPEC.replace('source = "text"', 'source = "s3://"').replace('source = "news"', 'source = "s3://"')
    with pytest.raises(SpecError) as caught:
        checked(folder, wrong)
    problem = "'s3://' names no bucket: write s3://bucket/folder"
    assert [*caught.value.problems] == [problem, f"[[tasks]] news source {problem}"]


def test_an_object_that_a_store_lists_but_does_not_give(folder, bucket, monkeypatch):
    filesystem, root = open_filesystem(f"{bucket}/{folder.name}/text")
    pafs.copy_files(str(folder / "text"), root, destination_filesystem=filesystem)

    def denied(stored):
        raise StillhouseError(f"{stored.path} cannot be read: ACCESS_DENIED")

    monkeypatch.setattr(files.Stored, "open", denied)
    with pytest.raises(SpecError) as caught:
        checked(folder, SPEC.replace('"text"', f'"{bucket}/{folder.name}/text"').replace("trials = 4", "trials = 0"))
    first, second = caught.value.problems
    assert first.startswith("[budget] trials") and second.startswith("[corpus] source") and "ACCESS_DENIED" in second
