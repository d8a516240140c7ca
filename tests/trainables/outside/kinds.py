"""Kinds of another package that fit nothing here pass a spec, are prepared, loaded and scored in their own way."""

import numpy as np
from small_tasks import make_bert, make_tokenizer, texts, write

from search.spec.checks import read_spec
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec, protocol_for


def test_outside_kinds_are_read_and_scored_as_they_say(tmp_path):
    rng = np.random.default_rng(0)
    first, second, documents = texts(40, rng), texts(40, rng), texts(20, rng)
    words = [(set(a.split()), set(b.split())) for a, b in zip(first, second, strict=True)]
    alike = [len(ours & theirs) / len(ours | theirs) for ours, theirs in words]
    write(tmp_path / "sts", dev={"sentence1": first, "sentence2": second, "score": alike})
    queries = {"query": [text.rsplit(" ", 1)[0] for text in documents], "relevant": [[f"d{i}"] for i in range(20)]}
    passages = {"id": [f"d{i}" for i in range(20)], "text": documents}
    write(tmp_path / "search", passages=passages, dev=queries, test=queries)
    table = {
        "teacher": {"path": "package:trainables/embedded_teacher"},
        "corpus": {"source": "docs"},
        "tasks": [
            {"name": "sts", "source": str(tmp_path / "sts"), "kind": "alike"},
            {"name": "search", "source": str(tmp_path / "search"), "kind": "finding", "metric": "mrr", "max_dev": 15},
        ],
    }
    found = {}
    for task in read_spec(table, tmp_path).tasks:
        data = load_task(prepare_task(task, make_tokenizer(), tmp_path / "prepared"))
        score = score_task(make_bert(), data, EvaluationSpec(), ["dev"], 0)["dev"]
        assert score.score > 0.4
        found[task.name] = (score.protocol, score.metric, data.meta["sizes"], protocol_for(task.kind, "finetune"))
    assert found["sts"] == ("zero_shot", "spearman", {"dev": 40}, "zero_shot")
    assert found["search"] == ("zero_shot", "mrr", {"passages": 20, "dev": 15, "test": 20}, "zero_shot")
