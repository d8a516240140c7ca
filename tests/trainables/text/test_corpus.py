"""Packing, order, masking, and what is refused in which words."""

import gzip
import json
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import trainables.text.hub
from spaces.errors import SpecError
from trainables.text import packing
from trainables.text.corpus import Corpus, batch_indices, blocks_visited, open_corpus, prepare_corpus
from trainables.text.file_texts import file_texts
from trainables.text.files import file_here
from trainables.text.held_out import hold_out
from trainables.text.packing import pack, pieces_of, tokenised, tokenizer_digest
from trainables.text.shards import alone
from trainables.text.sources import CorpusSpec, open_texts, read_texts

MASK = 4


def refusal(source, tokenizer, **options) -> str:
    with pytest.raises(SpecError) as caught:
        prepare_corpus(CorpusSpec(str(source), **{"sequence_length": 8, **options}), tokenizer)
    return str(caught.value)


def test_pack_separates_documents_and_never_pads(teacher):
    blocks = pack([[11, 12, 13], [14], [15, 16, 17, 18, 19]], teacher.tokenizer, 7)
    first, last = teacher.tokenizer.cls_token_id, teacher.tokenizer.sep_token_id
    assert blocks.tolist() == [[first, 11, 12, 13, last, 14, last], [first, last, 15, 16, 17, 18, last]]
    assert blocks.dtype == np.uint16


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_blocks_are_the_text(teachers, texts, tmp_path, family):
    tokenizer = teachers(family).tokenizer
    (tmp_path / "a.txt").write_text("\n".join(texts(120)))
    corpus = open_corpus(prepare_corpus(CorpusSpec(str(tmp_path), sequence_length=10), tokenizer))
    assert corpus.train.shape[1] == corpus.held_out.shape[1] == 10
    assert tokenizer.pad_token_id not in corpus.train
    assert (corpus.train[:, 0] == tokenizer.cls_token_id).all()
    assert (corpus.train[:, -1] == tokenizer.sep_token_id).all()
    train, held_out = hold_out(texts(120), 80)
    body = corpus.train[:, 1:-1].reshape(-1).tolist()
    stream = []
    for text in train:
        stream += [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.sep_token_id]
    assert body == stream[: len(body)]
    assert len(stream) - len(body) < 8
    assert len(train) + len(held_out) == 120
    assert corpus.train_tokens == corpus.train.size


def test_preparing_twice_is_done_once(teacher, texts, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(texts(120)))
    spec = CorpusSpec(str(tmp_path / "a.txt"), sequence_length=10)
    folder = prepare_corpus(spec, teacher.tokenizer)
    before = (folder / "train.npy").stat().st_mtime_ns
    teacher.tokenizer(["ba", "ba de"], padding=True, truncation=True, max_length=3)
    assert prepare_corpus(spec, teacher.tokenizer) == folder
    assert (folder / "train.npy").stat().st_mtime_ns == before
    (tmp_path / "a.txt").write_text("\n".join(texts(121)))
    assert prepare_corpus(spec, teacher.tokenizer) != folder


def test_the_tokenizer_digest_ignores_the_last_call(teacher):
    teacher.tokenizer(["ba de", "ba"])
    before = tokenizer_digest(teacher.tokenizer)
    teacher.tokenizer(["ba de", "ba"], padding=True, truncation=True, max_length=3)
    assert tokenizer_digest(teacher.tokenizer) == before


def test_max_tokens_caps_the_train_part(teacher, texts, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(texts(400)))
    corpus = open_corpus(prepare_corpus(CorpusSpec(str(tmp_path), 10, max_tokens=300), teacher.tokenizer))
    assert 280 < corpus.train[:, 1:-1].size < 360


def test_a_supplement_is_a_corpus_inside_and_makes_another(teacher, texts, tmp_path):
    own, other = tmp_path / "own.txt", tmp_path / "other.txt"
    own.write_text("\n".join(texts(120)))
    other.write_text("\n".join(reversed(texts(300)[150:])))
    plain = prepare_corpus(CorpusSpec(str(own), 16), teacher.tokenizer)
    spec = CorpusSpec(str(own), 16, supplement=str(other))
    folder = prepare_corpus(spec, teacher.tokenizer)
    assert folder != plain and prepare_corpus(spec, teacher.tokenizer) == folder
    corpus, alone = open_corpus(folder), open_corpus(prepare_corpus(CorpusSpec(str(other), 16), teacher.tokenizer))
    assert np.array_equal(corpus.train, open_corpus(plain).train) and open_corpus(plain).supplement is None
    assert np.array_equal(corpus.supplement.train, alone.train) and corpus.supplement.facts == alone.facts
    assert corpus.supplement.supplement is None and corpus.supplement.digest != corpus.digest
    other.write_text("\n".join(texts(250)))
    assert prepare_corpus(spec, teacher.tokenizer) != folder
    with pytest.raises(SpecError, match=r"^\[corpus\] supplement .*nosuch"):
        prepare_corpus(replace(spec, supplement=str(tmp_path / "nosuch")), teacher.tokenizer)


def test_all_formats_hold_the_same_texts(tmp_path):
    texts = ["one", "two", "three"]
    (tmp_path / "a.txt").write_text("one\n\ntwo\n  three \n")
    rows = "\n\n".join(json.dumps({"body": text}) for text in [*texts, "", None])
    (tmp_path / "a.jsonl").write_text(f"\ufeff{rows}\n\n")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    frames = (pa.compress(part.encode(), "zstd", asbytes=True) for part in (rows[:20], rows[20:]))
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    (tmp_path / "a.csv").write_text("id,body\n1,one\n2,\n3,two\n4,three\n")
    (tmp_path / "a.tsv").write_text("body\tid\none\t1\ntwo\t2\nthree\t3\n")
    for name, column in {
        "plain": [*texts, None, " "], "coded": pa.array([*texts, None]).dictionary_encode(),
        "large": pa.array(texts, pa.large_string()),
    }.items():  # fmt: skip
        pq.write_table(pa.table({"body": column, "other": [0] * len(column)}), tmp_path / f"{name}.parquet")
    for path in tmp_path.iterdir():
        assert list(file_texts(file_here(path), "body")) == texts, path


@pytest.fixture
def hub(monkeypatch, texts):
    """A data set of two columns by the package itself, given under any name; what was asked for."""
    rows, asked = [*texts(200), "", None], []
    given = datasets.Dataset.from_dict({"text": rows, "number": list(range(len(rows)))})
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kw: asked.append((*args, *kw.values())) or given)
    return asked


def test_a_hub_corpus(hub, monkeypatch, texts, teacher):
    train, held_out = read_texts(CorpusSpec("hub:owner/name@1a2b", subset="small"), print)
    assert hub == [("owner/name", "small", "train", "1a2b")]
    assert len(train) + len(held_out) == 200
    assert "has the columns text, number" in refusal("hub:owner/name", teacher.tokenizer, text_column="body")
    assert "it holds int64, not text" in refusal("hub:owner/name", teacher.tokenizer, text_column="number")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError("gone")))
    assert "did not give it" in refusal("hub:owner/none", teacher.tokenizer)


def test_a_hub_corpus_is_cut_as_a_file_is(hub, monkeypatch, texts, teacher, tmp_path):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trainables.text.hub, "GROUP_BYTES", 2000)
    monkeypatch.setattr(trainables.text.hub, "ROWS", 10)
    said = []
    source = open_texts(CorpusSpec("hub:owner/name"), said.append)
    (file,) = (tmp_path / "cache" / "hub").glob("*/train.parquet")
    about = pq.ParquetFile(file).metadata
    assert about.num_columns == 1 and about.num_rows == 202 and 3 < about.num_row_groups < 20
    assert list(source.train()) == texts(200) and len(source.fragments()) == 1
    written = file.stat().st_mtime_ns
    assert list(open_texts(CorpusSpec("hub:owner/name"), said.append).train()) == texts(200)
    assert file.stat().st_mtime_ns == written and len([line for line in said if "as Parquet, once" in line]) == 1
    (tmp_path / "same.txt").write_text("\n".join(texts(200)))
    first, second = (
        open_corpus(prepare_corpus(CorpusSpec(name, 10), teacher.tokenizer))
        for name in ("hub:owner/name", str(tmp_path / "same.txt"))
    )
    assert np.array_equal(first.train, second.train) and np.array_equal(first.held_out, second.held_out)


def test_files_that_change_while_they_are_cut_are_told(teacher, texts, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(texts(120)))
    spec = CorpusSpec(str(tmp_path), sequence_length=10)

    def changing(source):
        (tmp_path / "a.txt").write_text("\n".join(texts(121)))
        return alone(source)

    with pytest.raises(SpecError, match=r"\[corpus\] source .* has changed while it was read"):
        prepare_corpus(spec, teacher.tokenizer, cutters=changing)
    assert open_corpus(prepare_corpus(spec, teacher.tokenizer)).facts.texts > 100


def test_a_missing_source(teacher, tmp_path):
    assert "no such file or folder" in refusal(tmp_path / "none.txt", teacher.tokenizer)


def test_a_source_of_another_format(teacher, tmp_path):
    (tmp_path / "a.pdf").write_text("text")
    assert ".jsonl" in refusal(tmp_path / "a.pdf", teacher.tokenizer)
    assert ".jsonl" in refusal(tmp_path, teacher.tokenizer)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_corpus(teacher, tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert "the corpus is empty" in refusal(tmp_path / "a.txt", teacher.tokenizer)


def test_only_validation_files(teacher, tmp_path):
    for name in ("valid.txt", "test.txt"):
        (tmp_path / name).write_text("ba\n")
    assert "nothing to train on" in refusal(tmp_path, teacher.tokenizer)


def test_a_wrong_column(teacher, tmp_path):
    pq.write_table(pa.table({"body": ["ba"], "stars": [5]}), tmp_path / "a.parquet")
    assert "has no column 'text', only body, stars" in refusal(tmp_path / "a.parquet", teacher.tokenizer)
    assert "holds int64" in refusal(tmp_path / "a.parquet", teacher.tokenizer, text_column="stars")
    (tmp_path / "a.jsonl").write_text('{"text": "ba"}\n{"body": "ba"}\n')
    assert "a.jsonl, line 2 has no column 'text', only body" in refusal(tmp_path / "a.jsonl", teacher.tokenizer)
    pq.write_table(pa.table({"text": [["ba"]]}), tmp_path / "a.parquet")
    assert "holds list" in refusal(tmp_path / "a.parquet", teacher.tokenizer)
    (tmp_path / "a.csv").write_text("body,text,text\nba,ba,ba\n")
    assert "has the column 'text' twice" in refusal(tmp_path / "a.csv", teacher.tokenizer)
    (tmp_path / "a.jsonl").write_text('{"text": 5}\n')
    assert "holds 5" in refusal(tmp_path / "a.jsonl", teacher.tokenizer)


def test_unreadable_files(teacher, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"good\n\xff\xfe\x00bad")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    assert "a.txt, line 2: not UTF-8" in refusal(tmp_path / "a.txt", teacher.tokenizer)
    assert "a.parquet cannot be read" in refusal(tmp_path / "a.parquet", teacher.tokenizer)


def test_a_corpus_shorter_than_a_block(teacher, tmp_path):
    (tmp_path / "train.txt").write_text("ba de\n")
    (tmp_path / "valid.txt").write_text("ba de fi go ku ba de fi go ku\n")
    assert "the train part is shorter than one block of 8 tokens" in refusal(tmp_path, teacher.tokenizer)
    (tmp_path / "train.txt").write_text("ba de fi go ku ba de fi go ku\n")
    (tmp_path / "valid.txt").write_text("ba de\n")
    assert "the held_out part is shorter than one block of 8 tokens" in refusal(tmp_path, teacher.tokenizer)
    cache = tmp_path / "cache" / "corpora"
    assert not list(cache.glob("*"))


def test_max_tokens_takes_a_sample_of_all_text(teacher, texts, tmp_path):
    """Of every file, and of every part of a long document."""
    words = {"a.txt": "ba", "b.txt": "de", "c.txt": "fi", "d.txt": "go"}
    for name, word in words.items():
        (tmp_path / name).write_text("\n".join(f"{word} {word} {i}" for i in range(800)))
    (tmp_path / "d.txt").write_text(" ".join(["go"] * 2000 + ["ku"] * 1200))
    corpus = open_corpus(prepare_corpus(CorpusSpec(str(tmp_path), 10, max_tokens=4000), teacher.tokenizer))
    ids = {word: teacher.tokenizer(word, add_special_tokens=False)["input_ids"] for word in words.values()}
    counts = [int((corpus.train == own).sum()) for own, *_ in ids.values()]
    assert min(counts) > 300, counts
    assert 3600 < corpus.train[:, 1:-1].size < 8000


def test_a_long_document_is_tokenised_as_one(teacher, monkeypatch):
    text = " ".join(["ba de fi go ku"] * 50)
    whole = list(tokenised([text, "ba de"], teacher.tokenizer, None, print))
    monkeypatch.setattr(packing, "PIECE", 30)
    monkeypatch.setattr(packing, "CHUNK", 3)
    assert list(tokenised([text, "ba de"], teacher.tokenizer, None, print)) == whole
    assert list(tokenised([text, "ba de"], teacher.tokenizer, 10**6, print)) == whole
    assert "".join(pieces_of(text, 30)) == text
    assert len(list(tokenised([text, "ba de"], teacher.tokenizer, 50, print))) > 1


class Bare:
    """A tokenizer that names no separators and puts none around a text."""

    cls_token_id = sep_token_id = None
    all_special_ids = ()

    def __call__(self, text):
        return {"input_ids": [1] * len(text)}


def test_a_tokenizer_without_separators():
    with pytest.raises(SpecError, match=r"no \[CLS\] and \[SEP\], .* cannot be told apart"):
        pack([[1]], Bare(), 8)


@pytest.mark.parametrize(("blocks", "size"), [(10, 4), (7, 7), (3, 8), (16, 4)])
def test_each_epoch_is_a_permutation(blocks, size):
    corpus = Corpus(np.zeros((blocks, 4)), np.zeros((1, 4)), 10, None, (), "")
    read = [batch_indices(corpus, size, step, seed=5) for step in range(3 * blocks)]
    steps = [chosen for chosen, _ in read]
    order = np.concatenate(steps)
    assert (np.concatenate([met for _, met in read]) == np.arange(len(order)) // blocks).all()
    epochs = order[: len(order) // blocks * blocks].reshape(-1, blocks)
    assert all(sorted(epoch) == list(range(blocks)) for epoch in epochs)
    assert any((epochs[0] != epoch).any() for epoch in epochs[1:])
    for step in (2, 0, 1):  # in any order, from nothing but the step
        assert (batch_indices(corpus, size, step, seed=5)[0] == steps[step]).all()
    other = np.concatenate([batch_indices(corpus, size, step, seed=6)[0] for step in range(3 * blocks)])
    assert (other != order).any()
    for count in (1, blocks - 1, blocks, 2 * blocks):
        assert blocks_visited(corpus, count, seed=5).tolist() == sorted(set(order[:count].tolist()))
