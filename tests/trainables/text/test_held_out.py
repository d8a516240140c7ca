"""What is held out of a corpus that has no file for it."""

import pytest

from trainables.text.held_out import cut_place, hold_out, rule_of


def test_held_out_texts_never_train():
    texts = [f"text {i % 60}" for i in range(500)]
    train, held_out = hold_out(texts, 10)
    assert held_out
    assert not set(train) & set(held_out)
    assert set(train) | set(held_out) == set(texts)
    assert hold_out(["a", "b"], 1000) == (["b"], ["a"])


def test_one_text_in_fifty_of_a_large_corpus_wherever_it_stands(monkeypatch):
    texts = [f"text number {i}" for i in range(10_000)]
    train, held_out = hold_out(texts, 100)
    assert 190 < len(held_out) < 215 and len(train) + len(held_out) == 10_000
    assert hold_out(texts[::-1], 100) == (train[::-1], held_out)
    more = hold_out([*texts, *(f"another text {i}" for i in range(10_000))], 100)[1]
    assert len(set(more) & set(held_out)) > 180  # a text stays on its side when the corpus grows
    monkeypatch.setattr("trainables.text.held_out.LISTED", 100)
    assert hold_out(texts, 100) == (train, held_out)


def test_some_of_what_is_held_out():
    texts = [f"text number {i}" for i in range(10_000)]
    rule = rule_of(texts, 100)
    few = {held_out for text in texts if (held_out := rule.up_to(500).split(text)[1])}
    assert few < set(hold_out(texts, 100)[1]) and 500 <= sum(map(len, few)) < 600
    assert rule.up_to(10**9).last == rule.last


@pytest.mark.parametrize("before", [0, 3, 40, 200])
def test_of_a_long_document_the_end_is_held_out(before):
    document = " ".join(f"word{i}" for i in range(20_000))
    short = [f"short {i}" for i in range(before)]
    train, held_out = hold_out([*short[: before // 2], document, *short[before // 2 :]], 1000)
    end = next(text for text in held_out if text.startswith("word"))
    start = next(text for text in train if text.startswith("word"))
    assert f"{start} {end}" == document
    assert 1000 < len(end) < 0.05 * len(document)


def test_text_without_white_space_is_cut_as_well():
    train, held_out = hold_out(["\u6587" * 100_000], 1000)
    assert len(train[0]) + len(held_out[0]) == 100_000
    assert 1000 <= len(held_out[0]) <= 3000
    assert cut_place("one two", 0) == 0


def test_a_small_corpus_holds_out_what_fills_a_block():
    train, held_out = hold_out([f"Sentence number {i} is about a mill." for i in range(100)], 1000)
    assert sum(map(len, held_out)) >= 1000
    assert len(train) > 50
