"""A corpus cut shard by shard: the blocks of the whole text, the same however it was stopped, and no more is read."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from trainables.text import shards, stream
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.packing import pieces_of
from trainables.text.sources import CorpusSpec


@pytest.fixture
def source(tmp_path, texts):
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text("\n".join(texts(300)))
    (tmp_path / "text/b.txt").write_text(" ".join(texts(200)))  # one long document
    (tmp_path / "text/valid.txt").write_text("\n".join(texts(50)))
    return str(tmp_path / "text")


@pytest.fixture
def prepared(source, teacher, tmp_path, monkeypatch):
    """A corpus in a cache of its own; and the texts that its tokenizer was given."""

    def prepare(name, **options):
        given = []
        real = shards.ids_of

        def ids_of(texts, *how):
            given.append(list(texts))
            return real(texts, *how)

        monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / name))
        with monkeypatch.context() as patch:
            patch.setattr(shards, "ids_of", ids_of)
            folder = prepare_corpus(CorpusSpec(source, 10, **options), teacher.tokenizer)
        assert not list((tmp_path / name / "shards").iterdir())
        return folder, given

    return prepare


def files_of(folder: Path):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_blocks_do_not_depend_on_shards_threads_or_stops(prepared, tmp_path, monkeypatch):
    whole, _ = prepared("whole")
    monkeypatch.setattr(stream, "SHARD_CHARACTERS", 700)
    monkeypatch.setattr(shards, "BATCH_CHARACTERS", 300)
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    again, given = prepared("again")
    assert again.name == whole.name and files_of(again) == files_of(whole)
    saved, real = [], np.save

    def killed(file, each):
        if len(saved) == 4:
            raise KeyboardInterrupt
        saved.append(each)
        real(file, each)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "save", killed)
        prepared("stopped")
    kept = sorted(path.name for path in (tmp_path / "stopped/shards" / whole.name).iterdir())
    assert kept == [f"{n:06d}.npy" for n in range(4)] and not list((tmp_path / "stopped/corpora").glob("*"))
    stopped, later = prepared("stopped")
    assert files_of(stopped) == files_of(whole)
    tokenised = sum(len(text) for batch in given[1:] for text in batch)
    assert sum(len(text) for batch in later[1:] for text in batch) <= tokenised - 4 * 600


def test_a_sample_is_spread_over_all_text_and_the_rest_is_not_tokenised(prepared, teacher):
    everything, given = prepared("all")
    half = open_corpus(everything).train[:, 1:-1].size // 2
    some, taken = prepared("some", max_tokens=half)
    assert sum(map(len, taken[-1])) < 0.6 * sum(map(len, given[-1]))
    corpus = open_corpus(some)
    assert half - 8 < corpus.train[:, 1:-1].size < half + 8 and corpus.facts.sampled
    assert corpus.facts.texts == open_corpus(everything).facts.texts == 301


@pytest.mark.parametrize("text", ["\u5b57" * 2500, "a " + "\u5b57" * 2500, "word " * 300 + "x" * 1500 + " y" * 800])
@pytest.mark.parametrize("size", [stream.SAMPLE_PIECE, 5000])
def test_pieces_of_a_text_without_white_space(text, size):
    pieces = list(itertools.islice(pieces_of(text, size), 10))
    assert "".join(pieces) == text and all(0 < len(piece) <= size for piece in pieces)


def test_where_texts_end(teacher, tmp_path, monkeypatch):
    """A separator after each text that gives tokens, at the border of a shard as well."""
    (cls,), sep = shards.frame(teacher.tokenizer)
    for number, ids in enumerate([[11, 12], [sep, 13], [], [14, sep, 15], [sep, 16]]):
        np.save(tmp_path / f"{number}.npy", np.array(ids, np.uint16))
    paths = sorted(tmp_path.glob("*.npy"))
    blocks = shards.write_blocks(paths, tmp_path / "blocks", teacher.tokenizer, 5, None)
    assert blocks[:, 1:-1].reshape(-1).tolist() == [11, 12, sep, 13, 14, sep, 15, sep, 16]
    few = shards.write_blocks(paths, tmp_path / "few", teacher.tokenizer, 5, 2)
    assert few.tolist() == [blocks[0].tolist(), blocks[2].tolist()] and (few[:, 0] == cls).all()
    np.save(tmp_path / "saved.npy", np.array(blocks))
    assert (tmp_path / "saved.npy").read_bytes() == (tmp_path / "blocks").read_bytes()
    parts = list(shards.in_turn(tmp_path / "blocks", 2))
    assert [len(part) for part in parts] == [2, 1] and np.concatenate(parts).tolist() == blocks.tolist()
