"""The contract of a kind of task, for every entry of KINDS; and kinds that another package adds."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_tasks import WORDS, make_bert, prepared, texts, write, write_beir

from spaces.errors import SpecError
from trainables.tasks.kinds import KINDS
from trainables.tasks.prepare import prepare_task
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

ROOT = Path(__file__).parents[3]


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
    model = make_bert().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = score_task(model, task, EvaluationSpec(protocol), ["dev", "test"], 0)
    ways = KINDS[task.kind].protocols
    metric = ways[protocol].metrics[0]
    low, high = sorted((metric.worst, metric.best))
    for split in ("dev", "test"):
        assert low <= found[split].score <= high
        assert (found[split].metric, found[split].protocol) == (ways[protocol].metrics[0].name, protocol)
    assert found == score_task(model, task, EvaluationSpec(protocol), ["dev", "test"], 0)
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


OUTSIDE = '''
"""Two kinds that fit nothing: pairs with a score, and queries with relevant documents in a file of their own."""

from functools import partial

import numpy as np

from trainables.tasks.data import Rows
from trainables.tasks.kind import Predictions, Protocol, TaskKind
from trainables.tasks.metrics import METRICS, Metric
from trainables.tasks.protocols.features import encoded_features
from trainables.text.ragged import ragged
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.rows import read_rows, targets
from trainables.tasks.reading.sources import read_tables
from trainables.tasks.reading.tables import Column
from trainables.tasks.sampling import as_one, by_tenth


def embedding(model, task, texts):
    last_ND = encoded_features(model, texts, task.pad_id)[-1]
    return last_ND / np.linalg.norm(last_ND, axis=-1, keepdims=True)


def cosine(model, task, terms):
    def predict(split):
        u_ND, v_ND = (embedding(model, task, task.splits[split].views[view]) for view in ("text", "text2"))
        return Predictions((u_ND * v_ND).sum(-1))

    return predict


STS = TaskKind(
    doc="how alike two texts are",
    columns={"text": Column("sentence1"), "text2": Column("sentence2"), "label": Column("score")},
    read=partial(read_rows, read_labels=targets, needed=("dev",)),
    encode=encode_texts,
    strata=by_tenth,
    protocols={"zero_shot": Protocol(cosine, (METRICS["spearman"],))},
)


def read_queries(source):
    tables = read_tables(source, needed=("passages", "dev"))
    documents = tables.pop("passages").columns
    number = {name: i for i, name in enumerate(documents["id"])}
    rows = {"passages": Rows({"text": documents["text"]}, ragged([[]] * len(number), np.int64))}
    for split, table in tables.items():
        query, relevant = (table.columns[source.columns[role].name] for role in ("text", "relevant"))
        rows[split] = Rows({"text": query}, ragged([[number[name] for name in each] for each in relevant], np.int64))
    return rows, ()


def search(model, task, terms):
    documents_ND = embedding(model, task, task.splits["passages"].views["text"])
    return lambda split: Predictions(embedding(model, task, task.splits[split].views["text"]) @ documents_ND.T)


def reciprocal_rank(labels, scores_QN, names):
    best = [scores_N[relevant].max() for scores_N, relevant in zip(scores_QN, labels, strict=True)]
    return float(np.mean([1 / (scores_N >= score).sum() for scores_N, score in zip(scores_QN, best, strict=True)]))


RETRIEVAL = TaskKind(
    doc="which documents answer a query",
    columns={"text": Column("query"), "relevant": Column("relevant")},
    read=read_queries,
    encode=encode_texts,
    strata=as_one,
    protocols={"zero_shot": Protocol(search, (Metric("mrr", reciprocal_rank),))},
)
'''
USE = """
import sys
from pathlib import Path

import numpy as np
from small_tasks import make_bert, make_tokenizer, texts, write

from search.spec.checks import read_spec
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec, protocol_for

here, rng = Path(sys.argv[1]), np.random.default_rng(0)
first, second, documents = texts(40, rng), texts(40, rng), texts(20, rng)
alike = [len(set(a.split()) & set(b.split())) / len(set(a.split()) | set(b.split())) for a, b in zip(first, second)]
write(here / "sts", dev={"sentence1": first, "sentence2": second, "score": alike})
queries = {"query": [text.rsplit(" ", 1)[0] for text in documents], "relevant": [[f"d{i}"] for i in range(20)]}
write(here / "search", passages={"id": [f"d{i}" for i in range(20)], "text": documents}, dev=queries, test=queries)
table = {
    "teacher": {"path": "package:trainables/embedded_teacher"},
    "corpus": {"source": "docs"},
    "tasks": [
        {"name": "sts", "source": str(here / "sts"), "kind": "alike"},
        {"name": "search", "source": str(here / "search"), "kind": "finding", "metric": "mrr", "max_dev": 15},
    ],
}
found = {}
for task in read_spec(table, here).tasks:
    data = load_task(prepare_task(task, make_tokenizer(), here / "cache"))
    score = score_task(make_bert(), data, EvaluationSpec(), ["dev"], 0)["dev"]
    found[task.name] = (score.protocol, score.metric, data.meta["sizes"], protocol_for(task.kind, "finetune"))
    assert score.score > 0.4, score
assert found["sts"] == ("zero_shot", "spearman", {"dev": 40}, "zero_shot"), found
assert found["search"] == ("zero_shot", "mrr", {"passages": 20, "dev": 15, "test": 20}, "zero_shot"), found
"""


def test_packages_outside_add_kinds(tmp_path):
    """No file of ours knows them: they pass a spec, are prepared, loaded and scored by protocols of their own."""
    info = tmp_path / "outside_kinds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-kinds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[stillhouse.tasks]\nalike = outside_kinds:STS\nfinding = outside_kinds:RETRIEVAL\n"
    )
    (tmp_path / "outside_kinds.py").write_text(OUTSIDE)
    (tmp_path / "use.py").write_text(USE)
    path = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "tests" / "trainables")))
    command = [sys.executable, str(tmp_path / "use.py"), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
