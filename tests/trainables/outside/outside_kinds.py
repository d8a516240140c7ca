"""Two kinds that fit nothing: pairs with a score, and queries with relevant documents in a file of their own."""

from functools import partial

import numpy as np

from trainables.tasks.data import Rows
from trainables.tasks.kind import Predictions, Protocol, TaskKind
from trainables.tasks.metrics import METRICS, Metric
from trainables.tasks.protocols.features import encoded_features
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.rows import read_rows, targets
from trainables.tasks.reading.sources import read_tables
from trainables.tasks.reading.tables import Column
from trainables.tasks.sampling import as_one, by_tenth
from trainables.text.ragged import ragged


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
