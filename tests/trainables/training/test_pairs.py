"""Pairs of a query and a passage: rows with the right types, and the scores that are learnt from them."""

import json

import numpy as np
import pytest
import torch
from small_tasks import write
from small_trials import COMMON, EXACT, fill

from spaces.errors import SpecError
from trainables.models.embedding import embedder_of
from trainables.models.pair_scores import score_pairs
from trainables.models.signals import states_of
from trainables.models.student import build_student
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import blocks_visited, open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.distillation import Distillation
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun
from trainables.training.targets import Needs, TargetPlan

LONGEST = 24
CONFIG = COMMON | {"method": "score"}


@pytest.fixture
def scorer(teachers):
    return teachers("bert", labels=1)


@pytest.fixture
def pairs(texts):
    """Three passages of each of 100 queries."""
    some = texts(400)
    return [(some[i], some[100 + (3 * i + k) % 300]) for i in range(100) for k in range(3)]


@pytest.fixture
def folder(scorer, pairs, tmp_path):
    """A prepared corpus of them, and what was said of it."""
    rows = [*({"q": query, "text": text} for query, text in pairs), {"q": "", "text": "x"}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = []
    spec = CorpusSpec(str(tmp_path / "train.jsonl"), sequence_length=LONGEST, texts="pairs", query_column="q")
    return prepare_corpus(spec, scorer.tokenizer, said.append), said


def test_rows_are_pairs_and_queries_are_held_out_whole(folder, scorer, pairs):
    corpus, said = open_corpus(folder[0]), folder[1]
    of_row = {tuple(scorer.tokenizer(*pair, truncation=True, max_length=LONGEST)["input_ids"]): pair for pair in pairs}

    def found(split):
        rows = zip(getattr(corpus, split), corpus.lengths[split], strict=True)
        return [of_row[tuple(row[:length].tolist())] for row, length in rows]

    train, held_out = found("train"), found("held_out")
    assert len(train) + len(held_out) == 300 and held_out
    assert not {query for query, _ in train} & {query for query, _ in held_out}
    assert f"{len(train):,} pairs of" in said[0] and "pairs of" in said[1] and "are cut there" in said[1]


def course(scorer, corpus, **options):
    """(losses, outcome) of twelve steps."""
    rows, student = [], build_student(CONFIG, scorer, 0, corpus)
    run = TrainingRun(CONFIG, int(12 * 8 * corpus.tokens_per_row), 0, EXACT)
    outcome = distil(student, scorer, corpus, run, rows.append, **options)
    return [row.loss for row in rows], outcome


def test_the_scores_are_learnt_live_and_from_the_cache(folder, scorer, pairs, write_teacher):
    corpus = open_corpus(folder[0])
    student = build_student(CONFIG, scorer, 0, corpus)
    module, rows = Distillation(student, scorer, corpus, CONFIG, EXACT), np.arange(9)
    reading = module.read(corpus, "train", rows, np.zeros_like(rows), EXACT, None)
    texts = [scorer.tokenizer.decode(ids).split("[SEP]") for ids in reading.inputs_BT]
    read = [(first.removeprefix("[CLS]").strip(), second.strip()) for first, second, *_ in texts]
    theirs, ours = (score_pairs(model, scorer.tokenizer, read) for model in (scorer.model, student))
    with torch.no_grad():
        assert module(scorer.model, reading).item() == pytest.approx(np.square(theirs - ours).mean(), rel=1e-4)
    live, outcome = course(scorer, corpus)
    plan = TargetPlan(
        teacher=str(write_teacher("bert", labels=1)), teacher_digest="", corpus=str(folder[0]),
        needs=Needs(states_of(module.teacher_signals)), blocks=tuple(blocks_visited(corpus, 12 * 8, 0).tolist()),
        held_out=len(corpus.held_out), views=1, mask_fraction=0.15, width=32, sequence_length=LONGEST, bf16=False,
    )  # fmt: skip
    cached, again = course(scorer, corpus, targets=fill(plan, scorer))
    assert (outcome.targets, again.targets) == ("live", "cache") and cached == pytest.approx(live, rel=5e-3)
    assert np.mean(live[-3:]) < np.mean(live[:3])
    assert plan.bytes() == (len(plan.blocks) + plan.held_out) * 32 * 2  # one state of float16 for each pair


@pytest.mark.parametrize("kind", ["reranking", "sts", "pair_classification"])
def test_a_cross_encoder_is_scored_by_its_scores(kind, scorer, pairs, tmp_path):
    queries, passages = [query for query, _ in pairs[::3]], [passage for _, passage in pairs]
    scores = score_pairs(scorer.model, scorer.tokenizer, pairs).reshape(-1, 3)
    if kind == "reranking":  # of each query the passage with the highest score answers it
        best = scores.argmax(1)
        three = [passages[3 * i : 3 * i + 3] for i in range(len(queries))]
        columns = {"query": queries, "positive": [[texts[b]] for texts, b in zip(three, best, strict=True)],
                   "negative": [texts[:b] + texts[b + 1 :] for texts, b in zip(three, best, strict=True)]}  # fmt: skip
    else:
        labels = scores[:, 0] > np.median(scores[:, 0]) if kind == "pair_classification" else scores[:, 0]
        columns = {"text": queries, "text2": passages[::3], "label": labels.astype(float).tolist()}
        columns |= {"label": ["yes" if label else "no" for label in labels]} if kind == "pair_classification" else {}
    turned = columns | {"text": columns.get("text2"), "text2": columns.get("text")}
    splits = {"train": turned} if kind == "pair_classification" else {}
    spec = TaskSpec("toy", str(write(tmp_path / "task", dev=columns, **splits)), kind, max_length=40)
    task = load_task(prepare_task(spec, scorer.tokenizer, tmp_path, embedder=embedder_of(scorer.model)))
    assert score_task(scorer.model, task, EvaluationSpec("zero_shot"), ["dev"], 0)["dev"].score == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("pairs.txt", "a line", "a file of lines has no pairs; give a table with the columns query and text"),
        ("pairs.csv", "question,text\na,b\n", "no column 'query'"),
        ("pairs.csv", "query,text\n,b\n", "no pair of a query and a passage to train on"),
    ],
)
def test_a_source_without_pairs_is_refused(name, content, problem, scorer, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(SpecError, match=problem):
        prepare_corpus(CorpusSpec(str(tmp_path / name), sequence_length=LONGEST, texts="pairs"), scorer.tokenizer)
