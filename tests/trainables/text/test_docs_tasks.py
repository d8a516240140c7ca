"""The tasks made of docstrings, over a small library of made-up ones."""

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from spaces.errors import SpecError
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.spec import TaskSpec
from trainables.text import docs_tasks as tasks
from trainables.text import docstrings as docs
from trainables.text.docs_tasks import MASK, MISSING, PACKAGE_NAMES, docs_task
from trainables.text.docstrings import docs_table


@pytest.fixture
def tokenizer_of_words():
    """Letters, and a mask that is written otherwise than BERT's."""
    letters = {chr(code): code - 97 for code in range(97, 123)}
    pieces = {**letters, **{f"##{letter}": 26 + i for letter, i in letters.items()}, "<unk>": 52, "<mask>": 53}
    backend = Tokenizer(models.WordPiece(pieces, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", mask_token="<mask>")


@pytest.mark.parametrize("name", ["package", "section"])
def test_classes_are_of_equal_size(library, name):
    task = docs_task(name)
    for split, examples in task.items():
        counts = np.bincount(examples["label"], minlength=len(examples["label_names"]))
        assert counts.min() == counts.max() > 0, split
        assert sorted(set(examples["label"])) == list(range(len(examples["label_names"])))
    assert task == docs_task(name)
    texts = [set(examples["text"]) for examples in task.values()]
    assert texts[0].isdisjoint(texts[1]) and texts[0].isdisjoint(texts[2]) and texts[1].isdisjoint(texts[2])


def test_package_labels_are_right_and_cannot_be_read_off(library):
    rows = pq.read_table(docs_table()).to_pylist()
    truth = {tasks.hide_names(row["text"]): row["package"] for row in rows}
    examples = docs_task("package")["train"]
    assert any("and it arrays" in text for text in examples["text"])
    for text, label in zip(examples["text"], examples["label"], strict=True):
        assert not PACKAGE_NAMES.search(text)
        assert not {
            "python",
            "torch",
            "transformers",
            "ray",
            "pandas",
            "scipy",
            "sklearn",
            "sympy",
            "numpy",
        }.intersection(text.lower().replace(".", " ").split())
        if "arrays" not in text:
            assert truth[text] == examples["label_names"][label]


def test_section_labels_are_right(library):
    truth = {tasks.hide_names(row["text"]): row["section"] for row in pq.read_table(docs_table()).to_pylist()}
    examples = docs_task("section")["dev"]
    for text, label in zip(examples["text"], examples["label"], strict=True):
        assert truth[text] == examples["label_names"][label]


def test_pairs_are_right_and_about_even(library):
    docstring = {row["text"]: row["docstring"] for row in pq.read_table(docs_table()).to_pylist()}
    examples = docs_task("pairs")["train"]
    for first, second, label in zip(examples["text"], examples["text2"], examples["label"], strict=True):
        assert (docstring[first] == docstring[second]) == bool(label)
        assert first != second
    assert 0.4 < np.mean(examples["label"]) < 0.6


def test_half_of_the_texts_have_two_neighbours_swapped(library):
    rows = [row for row in pq.read_table(docs_table()).to_pylist() if row["split"] == "train"]
    texts = {tuple(row["text"].split()) for row in rows}
    bags = {tuple(sorted(words)) for words in texts}
    examples = docs_task("order")["train"]
    assert abs(2 * sum(examples["label"]) - len(examples["label"])) <= 1
    for text, label in zip(examples["text"], examples["label"], strict=True):
        words = tuple(text.split())
        assert tasks.SHORTEST <= len(words) <= tasks.LONGEST
        assert tuple(sorted(words)) in bags  # nothing but the order has changed
        undone = {(*words[:k], words[k + 1], words[k], *words[k + 2 :]) for k in range(len(words) - 1)}
        assert (words in texts) != bool(label)
        assert not label or undone & texts


def test_one_of_the_small_words_is_missing_each_as_often(library):
    rows = [row for row in pq.read_table(docs_table()).to_pylist() if row["split"] == "train"]
    texts = {tuple(row["text"].split()) for row in rows}
    examples = docs_task("missing")["train"]
    found = Counter()
    for words, labels in zip(examples["text"], examples["label"], strict=True):
        (place,) = (k for k, label in enumerate(labels) if label is not None)
        word = examples["label_names"][labels[place]]
        assert words[place] == MASK
        assert (*words[:place], word, *words[place + 1 :]) in texts
        assert word not in words
        found[word] += 1
    assert set(found) == set(MISSING)
    assert len(set(found.values())) == 1


def test_a_missing_word_is_read_as_the_mask_of_any_tokenizer(library, tmp_path, tokenizer_of_words):
    rows = docs_task("missing")["dev"]
    task = load_task(
        prepare_task(
            TaskSpec("missing", "docs:missing", "token_classification"), tokenizer_of_words, tmp_path / "cache"
        )
    )
    dev = task.splits["dev"]
    assert task.label_names == MISSING
    assert len(dev.labels.values) == len(dev.views["words"].values) == len(rows["text"])
    for ids, places in zip(dev.views["text"], dev.views["words"], strict=True):
        assert ids[places].tolist() == [tokenizer_of_words.mask_token_id]


def test_a_package_that_is_absent_is_named(library, monkeypatch):
    kept = [(package, path) for package, path in docs.sources() if package != "sympy"]
    monkeypatch.setattr(docs, "sources", lambda: kept)
    with pytest.raises(SpecError, match="no paragraph of sympy"):
        docs_task("package")


@pytest.mark.parametrize("name", tasks.DOCS_TASKS)
def test_a_split_has_so_many_examples_at_most(library, monkeypatch, name):
    monkeypatch.setattr(tasks, "MOST", 64)
    examples = docs_task(name)["train"]
    labels = Counter(
        label
        for each in examples["label"]
        for label in (each if isinstance(each, list) else [each])
        if label is not None
    )
    assert 60 <= labels.total() == len(examples["text"]) <= 64
    assert set(labels) == set(range(len(examples["label_names"])))


def test_an_unknown_task_is_refused():
    with pytest.raises(SpecError, match="packages"):
        docs_task("packages")
