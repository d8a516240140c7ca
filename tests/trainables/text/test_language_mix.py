"""Languages sampled with a temperature: shares, passes, packing and order; and what is refused."""

from collections import Counter

import numpy as np
import pytest

from spaces.errors import SpecError
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.language_mix import interleaved, sampled, shares
from trainables.text.sources import CorpusSpec

WORDS = {"de": ["ba", "de", "fi"], "en": ["go", "ku"], "fr": ["ba", "ku"]}


def write(folder, sizes, held_out=20):
    """One folder for each language; German and English share no word, so that their blocks can be told apart."""
    rng = np.random.default_rng(0)
    for language, count in sizes.items():
        (folder / language).mkdir(parents=True)
        words = [" ".join(rng.choice(WORDS[language], rng.integers(4, 12))) for _ in range(count + held_out)]
        (folder / language / "train.txt").write_text("\n".join(words[:count]))
        (folder / language / "valid.txt").write_text("\n".join(words[count:]))
    return folder


@pytest.fixture
def corpus_of(teacher, tmp_path):
    """(prepared corpus, lines) of two languages of 400 and 50 texts."""
    source = write(tmp_path / "multi", {"de": 400, "en": 50})

    def make(**options):
        lines = []
        spec = CorpusSpec(str(source), **{"sequence_length": 12, **options})
        return open_corpus(prepare_corpus(spec, teacher.tokenizer, lines.append)), lines

    return make


def test_shares_are_those_of_the_formula():
    found = shares({"a": 1000, "b": 10}, 3.3)
    q = 10 ** (1 / 3.3 * 3), 10 ** (1 / 3.3)
    assert found == {"a": pytest.approx(q[0] / sum(q)), "b": pytest.approx(q[1] / sum(q))}
    assert shares({"a": 30, "b": 10}, 1.0) == {"a": pytest.approx(0.75), "b": pytest.approx(0.25)}
    assert shares({"a": 30, "b": 10}, 1e9)["b"] == pytest.approx(0.5)


def test_whole_passes_in_other_orders_until_there_are_enough():
    sizes = [5] * 20
    found = list(sampled(sizes, 5 * 50, (0, 1)))
    assert sorted(found[:20]) == sorted(found[20:40]) == list(range(20))
    assert found[:20] != found[20:40]
    assert len(set(found[40:])) == 10
    assert found == list(sampled(sizes, 250, (0, 1)))
    assert found != list(sampled(sizes, 250, (0, 2)))
    assert list(sampled(sizes, 30, (0, 1))) == found[:6]


def test_every_beginning_of_the_mix_is_mixed():
    parts = [np.full((60, 1), 0), np.full((30, 1), 1), np.full((10, 1), 2), np.full((0, 1), 3)]
    mixed = interleaved(parts)[:, 0]
    assert np.bincount(mixed).tolist() == [60, 30, 10]
    for count in range(101):
        found = np.bincount(mixed[:count], minlength=3)
        assert np.all(np.abs(found - count * np.array([0.6, 0.3, 0.1])) <= 1.0)


def language_of_blocks(blocks, tokenizer):
    """The language of each block, by its words; both of them where a block mixes them."""
    ids = {name: set(tokenizer(" ".join(WORDS[name]), add_special_tokens=False)["input_ids"]) for name in ("de", "en")}
    return ["+".join(name for name in ids if ids[name] & set(block.tolist())) for block in np.asarray(blocks)]


def test_small_languages_gain_and_blocks_hold_one_language(corpus_of, teacher):
    plain, _ = corpus_of()
    level, lines = corpus_of(language_temperature=3.3)
    even, _ = corpus_of(language_temperature=1.0)
    assert abs(len(level.train) - len(plain.train)) <= 3
    for corpus, expected in ((level, 8 ** (1 / 3.3)), (even, 8.0)):
        found = Counter(language_of_blocks(corpus.train, teacher.tokenizer))
        assert set(found) == {"de", "en"}
        assert found["de"] / found["en"] == pytest.approx(expected, rel=0.15)
    assert "corpus: tokens by language at temperature 3.3: de " in lines[-1]
    half = Counter(language_of_blocks(level.train[: len(level.train) // 2], teacher.tokenizer))
    assert half["de"] / half["en"] == pytest.approx(8 ** (1 / 3.3), rel=0.15)


def test_max_tokens_is_the_size_of_the_mix(corpus_of):
    corpus, _ = corpus_of(language_temperature=3.3, max_tokens=600)
    assert 560 <= corpus.train[:, 1:-1].size <= 760


def test_held_out_text_is_neither_repeated_nor_sampled(corpus_of, teacher):
    level, _ = corpus_of(language_temperature=3.3)
    other, _ = corpus_of(language_temperature=1.0)
    assert np.array_equal(level.held_out, other.held_out)
    found = Counter(language_of_blocks(level.held_out, teacher.tokenizer))
    assert found["de"] > 0 and abs(found["de"] - found["en"]) <= 3
    stream = level.held_out[:, 1:-1]
    assert len(np.unique(stream, axis=0)) == len(stream)


def test_without_a_temperature_the_digest_is_the_old_one(corpus_of):
    assert corpus_of()[0].digest != corpus_of(language_temperature=1.0)[0].digest
    assert corpus_of(language_temperature=2.0)[0].digest != corpus_of(language_temperature=1.0)[0].digest
    assert corpus_of(language_temperature=None)[0].digest == corpus_of()[0].digest


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train.txt": "a"}, "has none"),
        ({"en/train.txt": "a"}, "has en"),
        ({"en/train.txt": "a", "de/train.txt": "b", "more.txt": "c"}, "has de, en beside more.txt"),
    ],
)
def test_a_source_without_languages_is_refused(teacher, tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(SpecError, match="needs a folder with one for each language") as caught:
        prepare_corpus(CorpusSpec(str(tmp_path), language_temperature=3.3), teacher.tokenizer)
    assert words in str(caught.value)
    with pytest.raises(SpecError, match="language_temperature needs"):
        prepare_corpus(CorpusSpec("docs", language_temperature=3.3), teacher.tokenizer)


def test_every_language_without_enough_text_is_named(teacher, tmp_path):
    source = write(tmp_path, {"de": 200, "en": 1, "fr": 1})
    with pytest.raises(SpecError) as caught:
        prepare_corpus(CorpusSpec(str(source), sequence_length=64, language_temperature=1.0), teacher.tokenizer)
    assert len(caught.value.problems) == 2
    assert "the share of en" in caught.value.problems[0]
