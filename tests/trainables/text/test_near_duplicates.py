"""Near duplicates: the same as by comparing every pair, in bounded memory, wherever texts are read."""

import importlib
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tasks import make_tokenizer

from spaces.errors import SpecError
from spaces.records.data import corpus_lines
from trainables.text import near_duplicates as room
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.near_duplicates import bands_of, candidates, keys_of, near_duplicates, shingles
from trainables.text.sources import CorpusSpec, open_texts

WORDS = [f"word{number}" for number in range(2000)]


def written(rng, words=80):
    return rng.choices(WORDS, k=words)


def with_changes(rng, text, changes):
    changed = list(text)
    for place in rng.sample(range(len(text)), changes):
        changed[place] = rng.choice(WORDS)
    return changed


@pytest.fixture(scope="module")
def texts():
    """Texts of which some have a few words changed, from none to a third of them."""
    rng = random.Random(0)
    first = [written(rng) for _ in range(150)]
    again = [with_changes(rng, rng.choice(first), changes) for changes in [0, 1, 2, 3, 8, 12, 25] * 20]
    return [" ".join(text) for text in first] + [" ".join(text) for text in again]


def test_what_is_left_out_is_what_a_comparison_of_all_pairs_finds(texts):
    found = near_duplicates(iter(texts), 0.7, print)
    sets = [set(shingles(text)) for text in texts]
    most = np.array([max((len(a & b) / len(a | b) for b in sets[:i]), default=0.0) for i, a in enumerate(sets)])
    assert found.dtype == bool and len(found) == len(texts) and 60 < found.sum() < 110
    sure = np.abs(most - 0.7) > 0.12  # three standard errors of an estimate by 128 places
    assert (found[sure] == (most[sure] >= 0.7)).all() and sure.sum() > 250
    assert (near_duplicates(iter(texts), 0.7, print) == found).all()


def test_shingles_are_of_words_and_of_characters_where_words_are_not_apart():
    assert shingles("The quick, BROWN fox!") == ["the quick brown", "quick brown fox"]
    assert shingles("Hi") == ["hi"] and shingles("...") == [""]
    assert shingles("東京は大") == ["東 京 は", "京 は 大"]
    assert shingles("한국어") == ["한국어"] and shingles("Привет, мир и дом") == ["привет мир и", "мир и дом"]


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 0.95])
def test_bands_show_what_is_alike(similarity):
    bands, rows = bands_of(similarity)
    assert bands * rows <= room.PLACES

    def seen(at):
        return 1 - (1 - at**rows) ** bands

    assert seen(min(1.0, similarity + 0.1)) > 0.9 > seen(max(0.0, similarity - 0.35))


def test_texts_of_one_key_are_compared_with_the_first_and_the_one_before(monkeypatch):
    monkeypatch.setattr(room, "CHUNK", 3)
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 3, (200, room.PLACES)).astype(np.uint32)
    keys = keys_of(signs, slice(4, 7))
    same = {(i, j) for j in range(200) for i in range(j) if (signs[i, 4:7] == signs[j, 4:7]).all()}
    groups = {}
    for number, key in enumerate(keys.tolist()):
        groups.setdefault(key, []).append(number)
    assert {(i, j) for own in groups.values() for j in own for i in own if i < j} == same
    wanted = {pair for own in groups.values() for k, j in enumerate(own[1:]) for pair in ((own[0], j), (own[k], j))}
    found = {pair for early, late in candidates(keys) for pair in zip(early.tolist(), late.tolist(), strict=True)}
    assert found == wanted


@pytest.fixture
def folder(tmp_path, texts, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    pq.write_table(pa.table({"text": texts}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"text": texts[:3]}), tmp_path / "valid.parquet")
    return tmp_path


@pytest.mark.parametrize("cut", ["packed", "single"])
def test_a_corpus_without_near_duplicates(folder, texts, cut):
    tokenizer = make_tokenizer()
    spec = CorpusSpec(str(folder), sequence_length=16, texts=cut, near_duplicates=0.7)
    dropped = near_duplicates(iter(texts), 0.7, print)
    kept = [text for text, is_dropped in zip(texts, dropped, strict=True) if not is_dropped]
    assert list(open_texts(spec, print).train()) == kept
    whole, less = (open_corpus(prepare_corpus(each, tokenizer)) for each in (replace(spec, near_duplicates=None), spec))
    assert (whole.facts.texts, less.facts.texts) == (len(texts), len(kept))
    assert (whole.facts.near_duplicates, less.facts.near_duplicates) == (0, dropped.sum())
    assert f"{dropped.sum()} texts are left out, near duplicates of earlier ones" in list(corpus_lines(less.facts))
    assert len(less.train) < len(whole.train) and len(less.held_out) == len(whole.held_out)


def test_near_duplicates_of_a_language_alone(folder, texts):
    for language in ("en", "de"):
        (folder / "langs" / language).mkdir(parents=True)
        for name in ("train", "valid"):
            (folder / "langs" / language / f"{name}.parquet").write_bytes((folder / f"{name}.parquet").read_bytes())
    spec = CorpusSpec(str(folder / "langs"), sequence_length=16, near_duplicates=0.7, language_temperature=1.0)
    facts = open_corpus(prepare_corpus(spec, make_tokenizer())).facts
    assert facts.near_duplicates == 2 * near_duplicates(iter(texts), 0.7, print).sum()


def test_a_missing_package_is_named(folder, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SpecError, match=r"near_duplicates needs the package rensa: pip install 'stillhouse\[dedup\]'"):
        list(open_texts(CorpusSpec(str(folder), near_duplicates=0.8), print).train())


def test_no_texts_have_no_duplicates(folder):
    assert near_duplicates(iter(()), 0.8, print).shape == (0,)
