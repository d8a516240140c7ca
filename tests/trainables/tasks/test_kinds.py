"""The contract of a kind of task, for every entry of KINDS."""

import numpy as np
import pytest
import torch
from small_tasks import WORDS, make_bert, make_classifier, prepared, texts, write, write_beir

from spaces.errors import SpecError
from trainables.tasks.kinds import KINDS
from trainables.tasks.prepare import prepare_task
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec


def classes(count, rng):
    return {"text": texts(count, rng), "label": ["yes", "no", "perhaps"] * (count // 3)}


def pairs(count, rng):
    return {"text": texts(count, rng), "text2": texts(count, rng), "label": ["yes", "no"] * (count // 2)}


def numbers(count, rng):
    return {"text": texts(count, rng), "label": rng.normal(size=count).tolist()}


def tags(count, rng):
    words = [list(rng.choice(WORDS, 4)) for _ in range(count)]
    return {"tokens": words, "label": [["O", "B-X", "I-X", "B-Y"] for _ in words]}


def alike(count, rng):
    return {"text": texts(count, rng), "text2": texts(count, rng), "label": rng.normal(size=count).tolist()}


def topics(count, rng):
    return {"text": texts(count, rng), "label": [*"abc", *rng.choice(list("abc"), count - 3)]}


def lists(count, rng):
    return {
        "query": texts(count, rng),
        "positive": [texts(2, rng) for _ in range(count)],
        "negative": [texts(3, rng) for _ in range(count)],
    }


EXAMPLES = {
    "classification": classes,
    "pair_classification": pairs,
    "regression": numbers,
    "token_classification": tags,
    "sts": alike,
    "clustering": topics,
    "reranking": lists,
}
"""A small table of each kind that is read from tables, with labels that all its metrics fit."""
SIZES = {"train": 60, "dev": 30, "test": 24}
PROTOCOLS = [(name, protocol) for name, kind in KINDS.items() for protocol in kind.protocols]


def test_every_kind_has_an_example():
    assert {*EXAMPLES, "retrieval"} == set(KINDS)


def write_example(folder, kind):
    rng = np.random.default_rng(0)
    if kind != "retrieval":
        return write(folder, **{split: EXAMPLES[kind](count, rng) for split, count in SIZES.items()})
    documents = {f"d{i}": text for i, text in enumerate(texts(150, rng))}
    queries = {f"{split}{i}": texts(1, rng)[0] for split, count in SIZES.items() for i in range(count)}
    rows = {split: [(f"{split}{i}", f"d{i + 9 * j}", 2 - j) for i in range(n) for j in (0, 1)] for split, n in
            (("train", 41), ("dev", 30), ("test", 24))}  # fmt: skip
    return write_beir(folder, documents, queries, **rows)


@pytest.fixture
def task(request, tmp_path, tokenizer):
    write_example(tmp_path / "source", request.param)
    return prepared(tmp_path, tokenizer, request.param)


@pytest.mark.parametrize(("task", "protocol"), PROTOCOLS, indirect=["task"])
def test_a_task_is_scored_and_the_model_left_alone(task, protocol):
    model = (make_classifier(task.label_names) if protocol == "classifier" else make_bert()).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluation = EvaluationSpec(protocol, finetune_epochs=2)
    found = score_task(model, task, evaluation, ["dev", "test"], 0)
    ways = KINDS[task.kind].protocols
    metric = ways[protocol].metrics[0]
    low, high = sorted((metric.worst, metric.best))
    for split in ("dev", "test"):
        assert low <= found[split].score <= high
        assert (found[split].metric, found[split].protocol) == (ways[protocol].metrics[0].name, protocol)
    assert found == score_task(model, task, evaluation, ["dev", "test"], 0)
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("task", KINDS, indirect=True)
def test_what_is_prepared_is_what_was_read(task):
    sizes = {split: size for split, size in task.meta["sizes"].items() if split != "documents"}
    assert sizes == {split: size for split, size in SIZES.items() if split != "train" or KINDS[task.kind].fits}
    assert set(task.meta["labels_dropped"].values()) == {0}
    for split in task.splits.values():
        assert all(len(view) == len(split) == len(split.labels) for view in split.views.values())
    groups = KINDS[task.kind].strata(task.splits["dev"].labels)
    assert len(groups) == 30


def answers_of(task):
    """What a protocol of the kind would say if it knew the labels of dev."""
    labels = task.splits["dev"].labels
    if task.kind == "reranking":
        return np.array(labels.values["grade"])
    if task.kind == "retrieval":
        first = [judged["document"][np.argsort(-judged["grade"], kind="stable")] for judged in labels]
        everything = np.arange(len(task.splits["documents"]))
        return np.array([[*best, *np.setdiff1d(everything, best)][:100] for best in first])
    return np.array(labels.values)


@pytest.mark.parametrize("task", KINDS, indirect=True)
def test_who_knows_the_answers_gets_the_best_score(task):
    for metric in KINDS[task.kind].metrics:
        assert metric.misfit(task.label_names) is None
        answers = answers_of(task)
        assert metric.function(task.splits["dev"].labels, answers, task.label_names) == pytest.approx(metric.best)
        worse = metric.function(task.splits["dev"].labels, np.roll(answers, 1, axis=0), task.label_names)
        assert metric.sign * worse < metric.sign * metric.best


@pytest.mark.parametrize("kind", EXAMPLES)
def test_all_problems_are_said_with_their_places(tmp_path, tokenizer, kind):
    rng = np.random.default_rng(0)
    columns = KINDS[kind].columns
    needed = [column.name for column in columns.values() if column.required]
    bad = {name: [None] * 3 for name in needed}
    source = write(tmp_path / "source", train=EXAMPLES[kind](30, rng), dev=bad)
    with pytest.raises(SpecError) as caught:
        prepare_task(TaskSpec("toy", str(source), kind), tokenizer, tmp_path)
    assert len(caught.value.problems) == len(needed)
    for name, problem in zip(needed, caught.value.problems, strict=True):
        assert problem.startswith(f"task 'toy', dev of {str(source)!r}: column {name!r}, row 0 is None, not ")
    label = columns["label"].name if "label" in columns else needed[-1]  # a test without labels would be left out
    write(source, dev={"strange": [1]}, test={label: [1]})
    with pytest.raises(SpecError) as caught:
        prepare_task(TaskSpec("toy", str(source), kind), tokenizer, tmp_path)
    absent = [("dev", name) for name in needed] + [("test", name) for name in needed if name != label]
    for (split, name), problem in zip(absent, caught.value.problems, strict=True):
        assert problem.startswith(f"task 'toy', {split} of {str(source)!r} has no column {name!r}, only ")


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_unknown_metric_names_the_nearest(tmp_path, tokenizer, kind):
    name = KINDS[kind].metrics[0].name
    with pytest.raises(SpecError, match=f"task 't': metric: unknown '{name[:-1]}'. Did you mean '{name}'?"):
        prepare_task(TaskSpec("t", "nowhere", kind, metric=name[:-1]), tokenizer, tmp_path)
