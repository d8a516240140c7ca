"""Cosines, searches and candidates against one text at a time."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_tasks import MODELS, make_bert, prepared, texts, write, write_beir

from spaces.errors import SpecError
from trainables.models.encoder import hidden_states
from trainables.tasks.index import with_index
from trainables.tasks.kind import Terms
from trainables.tasks.kinds import KINDS
from trainables.tasks.prepare import rows_of_task
from trainables.tasks.protocols import zero_shot
from trainables.tasks.protocols.nearest import nearest_documents
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

ZERO_SHOT = EvaluationSpec("zero_shot")


def slow_embedding(model, ids):
    """One text without padding, by the definition."""
    ids = torch.tensor(ids.astype(np.int64))[None]
    with torch.inference_mode():
        pooled = hidden_states(model, ids, torch.ones_like(ids))[-1][0].mean(0).double().numpy()
    return pooled / np.sqrt((pooled**2).sum())


@pytest.mark.parametrize("family", MODELS)
def test_sts_is_the_rank_correlation_of_cosines(tmp_path, tokenizer, family):
    from scipy.stats import rankdata

    rng = np.random.default_rng(0)
    first, second = texts(40, rng), texts(40, rng)
    task = prepared(
        tmp_path, tokenizer, "sts", dev={"text": first, "text2": second, "label": rng.integers(0, 6, 40).tolist()}
    )
    model = MODELS[family]().eval()
    views, labels = task.splits["dev"].views, np.array(task.splits["dev"].labels.values)
    cosine = [
        slow_embedding(model, u) @ slow_embedding(model, v) for u, v in zip(views["text"], views["text2"], strict=True)
    ]
    expected = np.corrcoef(rankdata(cosine), rankdata(labels))[0, 1]
    found = score_task(model, task, ZERO_SHOT, ["dev"], 0)["dev"]
    assert (found.score, found.layer) == (pytest.approx(expected, abs=1e-3), None)


def test_a_search_ranks_by_cosine_and_reads_each_text_once(tmp_path, tokenizer, monkeypatch):
    rng = np.random.default_rng(1)
    documents = {f"d{i}": text for i, text in enumerate(texts(30, rng))}
    documents["again"] = documents["d3"]
    queries = {f"q{i}": text for i, text in enumerate(texts(6, rng))}
    write_beir(tmp_path / "source", documents, queries, dev=[(f"q{i}", f"d{i}", 1) for i in range(6)])
    task, model = prepared(tmp_path, tokenizer, "retrieval"), make_bert().eval()
    read = []
    monkeypatch.setattr(
        zero_shot, "embed_tokens", lambda *args, real=zero_shot.embed_tokens: read.append(len(args[1])) or real(*args)
    )
    score_task(model, task, ZERO_SHOT, ["dev"], 0)
    assert read == [30, 6]
    of_documents = np.array([slow_embedding(model, ids) for ids in task.splits["documents"].views["text"]])
    ranks = []
    for ids, judged in zip(task.splits["dev"].views["text"], task.splits["dev"].labels, strict=True):
        scores = of_documents @ slow_embedding(model, ids)
        ranks.append(int((scores > scores[judged["document"][0]] + 1e-9).sum()) + 1)
    expected = np.mean([1 / np.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks])
    assert score_task(model, task, ZERO_SHOT, ["dev"], 0)["dev"].score == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["retrieval", "reranking"])
def test_documents_are_embedded_once_by_the_teacher(tmp_path, tokenizer, kind, monkeypatch):
    """The teacher itself scores the same with and without its index; another encoder is compared with the index."""
    rng = np.random.default_rng(4)
    found = texts(40, rng)
    if kind == "retrieval":
        documents = {f"d{i}": text for i, text in enumerate(found)}
        write_beir(tmp_path / "source", documents, {f"q{i}": f"w{i}" for i in range(9)},
                   dev=[(f"q{i}", f"d{i}", 1) for i in range(9)])  # fmt: skip
    else:
        rows = {"query": texts(9, rng), "positive": [[text] for text in found[:9]], "negative": [found[9:]] * 9}
        write(tmp_path / "source", dev=rows)
    spec, teacher = TaskSpec("toy", str(tmp_path / "source"), kind), make_bert().eval()
    folder = prepare_task(spec, tokenizer, tmp_path / "cache")
    indexed = with_index(folder, SimpleNamespace(model=teacher, facts=SimpleNamespace(digest="t")))
    assert indexed != folder and rows_of_task(indexed).keys() == rows_of_task(folder).keys()
    plain, task = load_task(folder), load_task(indexed)
    assert score_task(teacher, task, ZERO_SHOT, ["dev"], 0) == score_task(teacher, plain, ZERO_SHOT, ["dev"], 0)
    torch.manual_seed(1)
    other = type(teacher)(teacher.config, add_pooling_layer=False).eval()
    queries = zero_shot.embedded(other, task, task.splits["dev"].views["text"])
    index = zero_shot.embedded(teacher, plain, plain.splits["documents"].views["text"])
    values = KINDS[kind].protocols["zero_shot"].run(other, task, Terms(task.metric, 0))("dev").values
    if kind == "retrieval":
        assert values.tolist() == nearest_documents(queries, index, 100).tolist()
    else:
        answers = index[[judged["document"][0] for judged in task.splits["dev"].labels]]
        np.testing.assert_allclose(values.reshape(9, -1)[:, 0], (queries * answers).sum(1), atol=1e-6)
    with pytest.raises(SpecError, match=r"must be as wide as those of the documents, 32, .*; they have 16"):
        score_task(make_bert(hidden_size=16), task, ZERO_SHOT, ["dev"], 0)


def test_candidates_are_scored_with_their_own_query(tmp_path, tokenizer):
    """The answer is the query's own text, the others are not: every answer comes first."""
    rng = np.random.default_rng(2)
    rows = {"query": texts(12, rng)}
    rows |= {"positive": [[text] for text in rows["query"]], "negative": [texts(5, rng) for _ in range(12)]}
    rows["negative"][4] = []
    task = prepared(tmp_path, tokenizer, "reranking", dev=rows)
    assert len(task.splits["dev"]) == 11
    assert score_task(make_bert(), task, ZERO_SHOT, ["dev"], 0)["dev"].score == 1.0


def test_clusters_of_texts_without_common_words_are_found(tmp_path, tokenizer):
    rng = np.random.default_rng(3)
    names = rng.integers(0, 3, 90)
    rows = {"text": [" ".join(rng.choice([f"w{10 * name + i}" for i in range(3)], 8)) for name in names]}
    task = prepared(tmp_path, tokenizer, "clustering", dev=rows | {"label": names.tolist()})
    assert score_task(make_bert(), task, ZERO_SHOT, ["dev"], 0)["dev"].score > 0.9
