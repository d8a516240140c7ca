"""Folders as BEIR writes them: what is read, what is left out and said, and what is refused."""

import json

import numpy as np
import pytest
from small_tasks import write_beir

from spaces.errors import SpecError
from spaces.records.data import task_lines
from trainables.tasks.facts import task_facts
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.spec import TaskSpec

DOCUMENTS = {f"d{i}": f"w{i} w{i + 1}" for i in range(30)}
QUERIES = {f"q{i}": f"w{i}" for i in range(12)}
DEV = [(f"q{i}", f"d{i}", 1) for i in range(6)]


@pytest.fixture
def folder(tmp_path):
    return write_beir(tmp_path / "source", DOCUMENTS, QUERIES, dev=DEV, test=[("q9", "d9", 2), ("q9", "d8", 1)])


def prepared(tmp_path, tokenizer, said=None, **options):
    spec = TaskSpec("toy", str(tmp_path / "source"), "retrieval", **options)
    say = (lambda line: None) if said is None else said.append
    return load_task(prepare_task(spec, tokenizer, tmp_path / "cache", say=say))


def told(task):
    return [*task_lines(task_facts(task.meta, task.splits, task.label_names, None))]


def problems(tmp_path, tokenizer, **options):
    with pytest.raises(SpecError) as caught:
        prepared(tmp_path, tokenizer, **options)
    return caught.value.problems


def words_of(task, tokenizer, split, row):
    return tokenizer.decode(task.splits[split].views["text"][row], skip_special_tokens=True)


def test_documents_are_title_and_text_and_fall_by_id(folder, tmp_path, tokenizer):
    rows = [{"_id": each, "title": "w39" if each == "d9" else "", "text": text} for each, text in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = prepared(tmp_path, tokenizer)
    assert task.meta["sizes"] == {"documents": 30, "dev": 6, "test": 1}
    assert words_of(task, tokenizer, "documents", 0) == "w39 w9 w10"
    assert words_of(task, tokenizer, "documents", 29) == "w0 w1"
    judged = task.splits["test"].labels[0]
    assert judged["document"].tolist() == [0, 1] and judged["grade"].tolist() == [2.0, 1.0]


def test_what_is_not_there_is_counted_with_examples(folder, tmp_path, tokenizer):
    more = [("q0", "x1", 1), ("q1", "x2", 1), ("nobody", "d1", 1), ("q7", "d7", 0), ("q8", "d7", -1)]
    write_beir(folder, DOCUMENTS | {"d28": " "}, QUERIES, dev=[*DEV, *more])
    said: list[str] = []
    assert prepared(tmp_path, tokenizer, said).meta["sizes"]["dev"] == 6
    assert said == [
        "task toy: 1 of corpus have no text: 'd28'",
        "task toy: 1 rows of the qrels of dev are not used, they name queries that are not there: 'nobody'",
        "task toy: 2 rows of the qrels of dev are not used, they name documents that are not there: 'x1', 'x2'",
        "task toy: 2 queries of dev are not used, they have no relevant document: 'q7', 'q8'",
    ]
    write_beir(folder, DOCUMENTS, QUERIES, dev=[("q1", "x", 1)], test=[("q1", "d1", 0)])
    found = problems(tmp_path, tokenizer)
    assert [each.partition(": ")[2].partition(" of ")[0] for each in found] == [
        "no query has a relevant document that is there"
    ] * 2


def test_all_problems_of_a_folder_at_once(folder, tmp_path, tokenizer):
    (folder / "corpus.jsonl").write_text("")
    (folder / "queries.jsonl").write_text('{"_id": "q0", "text": 3}\n')
    (folder / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\tmany\n")
    (folder / "qrels/test.tsv").write_text("q9\td9\t2\n")
    found = problems(tmp_path, tokenizer)
    rules = ("is empty", "column 'text', row 0 is 3, not a text", "row 0 is 'many', not a finite number", "no column")
    assert all(rule in problem for rule, problem in zip(rules, found, strict=False)), found
    (folder / "corpus.jsonl").unlink()
    assert problems(tmp_path, tokenizer)[0].startswith(
        f"task 'toy': no file {folder}/corpus ending in .parquet, .jsonl"
    )


def test_ids_that_are_there_twice_are_refused(folder, tmp_path, tokenizer):
    with (folder / "queries.jsonl").open("a") as file:
        file.write('{"_id": "q3", "text": "w1"}\n')
    assert "has 1 ids twice: 'q3'" in problems(tmp_path, tokenizer)[0]


def test_documents_that_answer_are_kept(folder, tmp_path, tokenizer):
    said: list[str] = []
    task = prepared(tmp_path, tokenizer, said, max_docs=12)
    assert told(task) == ["12 of 30 documents are searched, all that answer queries among them (max_docs)"]
    for split in ("dev", "test"):
        for row, judged in enumerate(task.splits[split].labels):
            query = words_of(task, tokenizer, split, row)
            assert words_of(task, tokenizer, "documents", judged["document"][0]).startswith(query)
    same = prepared(tmp_path, tokenizer, max_docs=12).splits["documents"].views["text"].values
    assert np.array_equal(same, task.splits["documents"].views["text"].values)
    assert (
        "max_docs = 7 would cut the 8 documents that answer queries. Set it to 8"
        in problems(tmp_path, tokenizer, max_docs=7)[0]
    )
    assert prepared(tmp_path, tokenizer, max_docs=7, max_dev=2).meta["sizes"] == {"documents": 7, "dev": 2, "test": 1}


def test_dev_comes_from_train_or_is_missed(folder, tmp_path, tokenizer):
    (folder / "qrels/dev.tsv").rename(folder / "qrels/train.tsv")
    task = prepared(tmp_path, tokenizer)
    assert task.meta["sizes"] == {"documents": 30, "dev": 6, "test": 1}
    assert told(task) == ["there is no dev split, so 6 rows are taken from train"]
    (folder / "qrels/train.tsv").unlink()
    assert "neither a dev split nor train" in problems(tmp_path, tokenizer)[0]
