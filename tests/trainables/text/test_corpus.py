"""Packing, order, masking, and what is refused in which words."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spaces.errors import SpecError
from trainables.text.corpus import batch_indices, blocks_visited, open_corpus, prepare_corpus
from trainables.text.packing import pack, tokenizer_digest
from trainables.text.sources import CorpusSpec, every_fiftieth, read_texts

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
    train, held_out = every_fiftieth(texts(120))
    body = corpus.train[:, 1:-1].reshape(-1).tolist()
    stream = []
    for text in train:
        stream += [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.sep_token_id]
    assert body == stream[: len(body)]
    assert len(stream) - len(body) < 8
    assert len(held_out) == 2
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


def test_held_out_texts_never_train():
    texts = [f"text {i % 60}" for i in range(500)]
    train, held_out = every_fiftieth(texts)
    assert held_out
    assert not set(train) & set(held_out)
    assert set(train) | set(held_out) == set(texts)
    assert every_fiftieth(["a", "b", "c"]) == (["a", "b"], ["c"])


def test_parts_of_a_folder(tmp_path):
    trains = ["train", "more", "developers", "testimony", "train/0", "train/valid"]
    held = ["valid", "dev-0", "validation_1", "held_out", "val", "dev/0"]
    for name in [*trains, *held, "test", "test-2", "testing", "test/0", "._train"]:
        (tmp_path / f"{name}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(f"of {name}\n")
    train, held_out = read_texts(CorpusSpec(str(tmp_path)), print)
    assert sorted(train) == sorted(f"of {name}" for name in trains)
    assert sorted(held_out) == sorted(f"of {name}" for name in held)
    alone = read_texts(CorpusSpec(str(tmp_path / "test.txt")), print)
    assert alone[0] + alone[1] == ["of test"]


def test_all_formats_hold_the_same_texts(tmp_path):
    texts = ["one", "two", "three"]
    (tmp_path / "a.txt").write_text("one\n\ntwo\n  three \n")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"body": text}) for text in [*texts, "", None]))
    pq.write_table(pa.table({"body": [*texts, None, " "]}), tmp_path / "a.parquet")
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        assert read_texts(CorpusSpec(str(tmp_path / name), text_column="body"), print) == (["one", "two"], ["three"])


def test_a_hub_corpus(monkeypatch, texts, teacher):
    class Table(SimpleNamespace):
        def __getitem__(self, column):
            return [*texts(200), "", None]

    asked = []
    fake = SimpleNamespace(
        load_dataset=lambda *args, **kw: asked.append((*args, kw["split"])) or Table(column_names=["text"]),
        exceptions=SimpleNamespace(DatasetNotFoundError=LookupError),
    )
    monkeypatch.setitem(sys.modules, "datasets", fake)
    train, held_out = read_texts(CorpusSpec("hub:owner/name", subset="small"), print)
    assert asked == [("owner/name", "small", "train")]
    assert len(train) + len(held_out) == 200
    assert "has the columns text" in refusal("hub:owner/name", teacher.tokenizer, text_column="body")
    fake.load_dataset = lambda *_, **__: (_ for _ in ()).throw(LookupError("gone"))
    assert "did not give it" in refusal("hub:owner/none", teacher.tokenizer)


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
    assert "has the columns body, stars" in refusal(tmp_path / "a.parquet", teacher.tokenizer)
    assert "holds int64" in refusal(tmp_path / "a.parquet", teacher.tokenizer, text_column="stars")
    (tmp_path / "a.jsonl").write_text('{"text": "ba"}\n{"body": "ba"}\n')
    assert "a.jsonl line 2" in refusal(tmp_path / "a.jsonl", teacher.tokenizer)
    (tmp_path / "a.jsonl").write_text('{"text": 5}\n')
    assert "holds 5" in refusal(tmp_path / "a.jsonl", teacher.tokenizer)


def test_unreadable_files(teacher, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00bad")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    for name in ("a.txt", "a.parquet"):
        assert f"{name} cannot be read" in refusal(tmp_path / name, teacher.tokenizer)


def test_a_corpus_shorter_than_a_block(teacher, tmp_path):
    (tmp_path / "train.txt").write_text("ba de\n")
    (tmp_path / "valid.txt").write_text("ba de fi go ku ba de fi go ku\n")
    assert "the train part is shorter than one block of 8 tokens" in refusal(tmp_path, teacher.tokenizer)
    (tmp_path / "train.txt").write_text("ba de fi go ku ba de fi go ku\n")
    (tmp_path / "valid.txt").write_text("ba de\n")
    assert "the held_out part is shorter than one block of 8 tokens" in refusal(tmp_path, teacher.tokenizer)
    cache = tmp_path / "cache" / "corpora"
    assert not list(cache.glob("*"))


def test_a_tokenizer_without_separators(teacher):
    with pytest.raises(SpecError, match="CLS"):
        pack([[1]], SimpleNamespace(cls_token_id=None, sep_token_id=None), 8)


@pytest.mark.parametrize(("blocks", "size"), [(10, 4), (7, 7), (3, 8), (16, 4)])
def test_each_epoch_is_a_permutation(blocks, size):
    read = [batch_indices(blocks, size, step, seed=5) for step in range(3 * blocks)]
    steps = [chosen for chosen, _ in read]
    order = np.concatenate(steps)
    assert (np.concatenate([met for _, met in read]) == np.arange(len(order)) // blocks).all()
    epochs = order[: len(order) // blocks * blocks].reshape(-1, blocks)
    assert all(sorted(epoch) == list(range(blocks)) for epoch in epochs)
    assert any((epochs[0] != epoch).any() for epoch in epochs[1:])
    for step in (2, 0, 1):  # in any order, from nothing but the step
        assert (batch_indices(blocks, size, step, seed=5)[0] == steps[step]).all()
    other = np.concatenate([batch_indices(blocks, size, step, seed=6)[0] for step in range(3 * blocks)])
    assert (other != order).any()
    for count in (1, blocks - 1, blocks, 2 * blocks):
        assert blocks_visited(blocks, count, seed=5).tolist() == sorted(set(order[:count].tolist()))
