"""Preparing tasks: folders, leaks, samples, views."""

import numpy as np
import pytest
from small_tasks import VOCABULARY, make_tokenizer, prepared, separable, texts, write, write_beir

from spaces.errors import SpecError
from trainables.models.embedding import Embedder
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.sampling import by_tenth, generator, stratified_order
from trainables.tasks.spec import TaskSpec, task_problems
from trainables.text.packing import tokenizer_digest
from trainables.text.ragged import one_each


def test_preparing_twice_is_one_folder_and_content_names_it(tmp_path, tokenizer):
    source = write(tmp_path / "source", train=separable(40, 0), dev=separable(10, 1))
    spec = TaskSpec("toy", str(source), "classification")
    first = prepare_task(spec, tokenizer, tmp_path / "cache")
    stamp = (first / "meta.json").stat().st_mtime_ns
    tokenizer(["w1"], padding="max_length", max_length=9, truncation=True)
    assert prepare_task(spec, tokenizer, tmp_path / "cache") == first
    assert (first / "meta.json").stat().st_mtime_ns == stamp
    assert (
        prepare_task(TaskSpec("toy", str(source), "classification", max_length=8), tokenizer, tmp_path / "cache")
        != first
    )
    write(source, dev=separable(10, 2))
    assert prepare_task(spec, tokenizer, tmp_path / "cache") != first
    assert not [path for path in (tmp_path / "cache" / "tasks").iterdir() if path.name.startswith(".")]


def test_a_tokenizer_with_another_vocabulary_has_another_digest(tokenizer):
    other = make_tokenizer()
    assert tokenizer_digest(other) == tokenizer_digest(tokenizer)
    other.add_tokens(["extra"])
    assert tokenizer_digest(other) != tokenizer_digest(tokenizer)


def test_train_rows_that_stand_in_dev_or_test_are_dropped_and_counted(tmp_path, tokenizer):
    train, dev = separable(50, 0), separable(10, 1)
    test = {"text": train["text"][:3], "label": train["label"][:3]}
    test["label"][0] = 1 - test["label"][1]
    dev["text"][0] = train["text"][9]
    task = prepared(tmp_path, tokenizer, train=train, dev=dev, test=test)
    leaked = {*dev["text"], *test["text"]}
    assert task.meta["dropped_from_train"] == sum(text in leaked for text in train["text"]) >= 4
    assert tuple(task.meta["sizes"].values()) == (50 - task.meta["dropped_from_train"], 10, 3)


def test_a_pair_leaks_only_when_both_texts_do(tmp_path, tokenizer):
    rng = np.random.default_rng(0)
    train = {"text": texts(20, rng), "text2": texts(20, rng), "label": [0, 1] * 10}
    dev = {"text": train["text"][:4], "text2": [*train["text2"][:1], "w1", "w2", "w3"], "label": [0, 1, 0, 1]}
    task = prepared(tmp_path, tokenizer, "pair_classification", train=train, dev=dev)
    assert task.meta["dropped_from_train"] == 1


def test_pairs_are_stored_apart_and_together(tmp_path, tokenizer):
    pair = {"text": ["w1 w2", "w3"], "text2": ["w4", "w5 w6"], "label": [0, 1]}
    task = prepared(tmp_path, tokenizer, "pair_classification", train=pair | {"text": ["w7", "w8"]}, dev=pair)
    views = task.splits["dev"].views
    assert views["text"][0].tolist() == [2, VOCABULARY["w1"], VOCABULARY["w2"], 3]
    assert views["text2"][1].tolist() == [2, VOCABULARY["w5"], VOCABULARY["w6"], 3]
    assert views["pair"][0].tolist() == [2, VOCABULARY["w1"], VOCABULARY["w2"], 3, VOCABULARY["w4"], 3]


def test_without_dev_a_stratified_tenth_of_train_becomes_dev(tmp_path, tokenizer):
    rng = np.random.default_rng(0)
    train = {"text": [f"{text} {text}" for text in dict.fromkeys(texts(400, rng))][:200], "label": [0] * 150 + [1] * 50}
    task = prepared(tmp_path, tokenizer, train=train)
    assert np.bincount(task.splits["dev"].labels.values).tolist() == [15, 5]
    assert np.bincount(task.splits["train"].labels.values).tolist() == [135, 45]


def test_samples_keep_the_proportions(tmp_path, tokenizer):
    rng = np.random.default_rng(0)
    train = {"text": texts(300, rng), "label": [0] * 200 + [1] * 100}
    task = prepared(tmp_path, tokenizer, options={"max_train": 30, "max_dev": 9}, train=train, dev=separable(40, 1))
    assert np.bincount(task.splits["train"].labels.values).tolist() == [20, 10]
    assert task.meta["sizes"]["dev"] == 9
    targets = np.linspace(0, 5, 200, dtype=np.float32)
    order = stratified_order(by_tenth(one_each(targets)), generator(0, "x"))
    assert np.histogram(targets[order[:20]], bins=10, range=(0, 5))[0].tolist() == [2] * 10


def test_every_beginning_of_a_stratified_order_is_stratified():
    strata = np.array([0] * 60 + [1] * 30 + [2] * 10)
    order = stratified_order(strata, generator(3, "x"))
    assert sorted(order) == list(range(100))
    for count in range(101):
        shares = np.bincount(strata[order[:count]], minlength=3)
        assert np.all(np.abs(shares - count * np.array([0.6, 0.3, 0.1])) <= 1.0)


def test_all_problems_of_a_spec_at_once(tmp_path, tokenizer):
    with pytest.raises(SpecError) as caught:
        spec = TaskSpec("t", "x", "clasification", max_train=1, max_length=2, metric="acuracy")
        prepare_task(spec, tokenizer, tmp_path)
    found = caught.value.problems
    assert len(found) == 4 and all(problem.startswith("task 't':") for problem in found)
    assert "Did you mean 'classification'?" in found[0]
    assert "Did you mean 'accuracy'?" in found[3]
    assert task_problems(TaskSpec("t", "x", "regression", metric="f1"))
    assert not task_problems(TaskSpec("t", "x", "regression"))


def test_a_folder_without_meta_is_not_a_task(tmp_path):
    with pytest.raises(SpecError, match="not a prepared task"):
        load_task(tmp_path)


def test_f1_is_of_the_positive_class(tmp_path, tokenizer):
    """0.667 of one class and 0.8 of the other at equal answers."""
    rows = {"text": [f"w{i}" for i in range(8)], "label": ["spam", "ham"] * 4}
    dev = {"text": [f"w{i}" for i in range(8, 13)], "label": ["spam", "ham", "ham", "ham", "spam"]}
    found = {}
    for positive in (None, "spam", "ham"):
        task = prepared(tmp_path, tokenizer, options={"metric": "f1", "positive_class": positive}, train=rows, dev=dev)
        spam = task.label_names.index("spam")
        answers = np.array([spam, 1 - spam, 1 - spam, 1 - spam, 1 - spam])
        found[positive] = task.metric.function(task.splits["dev"].labels, answers, task.label_names)
        assert [task.label_names[i] for i in task.splits["dev"].labels.values] == dev["label"]
    assert found == {None: found["spam"], "spam": pytest.approx(2 / 3), "ham": pytest.approx(6 / 7)}
    with pytest.raises(SpecError, match=r"positive_class 'Spam' must be one of two classes\. Did you mean 'spam'"):
        prepared(tmp_path, tokenizer, options={"positive_class": "Spam"}, train=rows, dev=dev)


def test_texts_that_are_embedded_stand_after_the_prompts_of_their_part(tmp_path, tokenizer):
    """As encode_query and encode_document choose them; a kind that is never embedded has none."""
    embedder = Embedder(6, prompts={"query": "w1 ", "passage": "w2 ", "other": "w3 "}, prompt_name="other")
    write_beir(
        tmp_path / "search", {"d": "w9"}, {"q": "w8 w7 w7 w7 w7 w7", "r": "w5"}, dev=[("q", "d", 1), ("r", "d", 1)]
    )
    pairs = {"text": ["w4", "w5"], "text2": ["w6", "w7"], "label": [1.0, 2.0]}
    write(tmp_path / "alike", dev=pairs)
    write(tmp_path / "classes", train=separable(9, 0), dev=separable(8, 1))

    def first(name, kind, part, view="text"):
        spec, said = TaskSpec("toy", str(tmp_path / name), kind), []
        folder = prepare_task(spec, tokenizer, tmp_path / "cache", embedder=embedder, say=said.append)
        return tokenizer.decode(load_task(folder).splits[part].views[view][0]), said

    queries, said = first("search", "retrieval", "dev")
    assert queries == "[CLS] w1 w8 w7 w7 [SEP]" and said == ["task toy: documents after 'w2 ', dev after 'w1 '"]
    assert first("search", "retrieval", "documents")[0] == "[CLS] w2 w9 [SEP]"
    assert first("alike", "sts", "dev", "text2")[0] == "[CLS] w3 w6 [SEP]"
    assert not first("classes", "classification", "dev")[1]
