"""What was left out, cut or could not be read of a task is counted and told."""

from small_tasks import separable, write

from spaces.records.data import sizes_text, task_lines
from trainables.tasks.facts import task_facts
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.spec import TaskSpec


def facts(folder, tokenizer, kind="classification", **options):
    """As a study has them, from the cache as well."""
    found = []
    for _ in range(2):
        notes = []
        spec = TaskSpec("toy", str(folder), kind, **options)
        task = load_task(prepare_task(spec, tokenizer, folder / "cache", say=notes.append))
        found.append(task_facts(task.meta, task.splits, task.label_names, tokenizer.unk_token_id, notes))
    assert found[0] == found[1]
    return found[0]


def test_what_is_left_out_is_told(tmp_path, tokenizer):
    train = separable(40, 0)
    test = {"text": train["text"][:4], "label": train["label"][:4]}
    write(tmp_path, "csv", train=train, test=test, dev={"text": ["w1", "w2"], "label": [-1, -1]})
    (tmp_path / "more.csv").write_text("text,label\n")
    found = facts(tmp_path, tokenizer)
    lines = [*task_lines(found)]
    assert lines == [
        "task toy: files that are not used: more.csv",
        "task toy: dev is not used, all its labels are -1",
        "there is no dev split, so 4 rows are taken from train",
        f"{found.dropped_from_train} of 36 rows of train are not used, since they also stand in dev or test",
    ]
    assert 1 <= found.dropped_from_train <= 4
    assert 2 < found.row_tokens < 20
    assert sizes_text(found) == f"train {36 - found.dropped_from_train}, dev 4, test 4; 2 classes"


def test_what_is_cut_or_unread_or_absent_is_told(tmp_path, tokenizer):
    texts = ["w1 w2", "w1 w2 w3 w4 w5 w6", "strange w2", "w3", "w4", "w5 w1", "w6", "w7"]
    train = {"text": texts, "label": ["a", "b", "c", "a", "b", "c", "a", "b"]}
    dev = {"text": ["w8", "w9", "w9 w1", "w1 w9"], "label": ["a", "b", "a", "a"]}
    write(tmp_path, "jsonl", train=train, dev=dev)
    found = facts(tmp_path, tokenizer, max_length=6)
    assert (found.full, found.unknown, found.absent, found.commonest) == (1 / 12, 1 / 20, {"dev": ("c",)}, 0.75)
    assert [*task_lines(found)] == [
        "8% of the texts fill max_length = 6, what is beyond is cut off",
        "unknown to the tokenizer: 5.0% of the tokens",
        "dev has no row of c",
    ]


def test_pairs_are_measured_together(tmp_path, tokenizer):
    rows = {"text": ["w1 w2", "w3"], "text2": ["w4 w5", "w6"], "label": [0, 1]}
    write(tmp_path, "jsonl", train=rows, dev={**rows, "text": ["w7 w8", "w9"]})
    found = facts(tmp_path, tokenizer, "pair_classification", max_length=7)
    assert (found.full, found.unknown, found.rows) == (0.5, 0.0, {"train": 2, "dev": 2})
