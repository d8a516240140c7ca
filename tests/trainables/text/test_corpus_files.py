"""What each file of a corpus is used for."""

import pytest

from spaces.records.data import told_files
from trainables.text.corpus_files import corpus_files, names_of, part_named
from trainables.text.sources import CorpusSpec, read_texts


def test_parts_of_a_folder(tmp_path):
    trains = ["train", "more", "developers", "testimony", "train/0", "train/valid"]
    held = ["valid", "dev-0", "validation_1", "held_out", "val", "eval", "dev/0", "wiki.valid", "en/dev/0"]
    for name in [*trains, *held, "test", "test-2", "testing", "test/0", "c4-test.00000-of-00002", "._train", ".a/b"]:
        (tmp_path / f"{name}.txt").parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / f"{name}.txt").write_text(f"of {name}\n")
    (tmp_path / "notes.pdf").write_text("")
    train, held_out = read_texts(CorpusSpec(str(tmp_path)), print)
    assert sorted(train) == sorted(f"of {name}" for name in trains)
    assert sorted(held_out) == sorted(f"of {name}" for name in held)
    told = told_files(names_of(corpus_files(str(tmp_path))))
    assert told.split("; ") == [
        "train: developers.txt, more.txt, testimony.txt, train/0.txt and 2 more",
        "held out: dev/0.txt, dev-0.txt, en/dev/0.txt, eval.txt and 5 more",
        "not used, since it is for tests: c4-test.00000-of-00002.txt, test/0.txt, test-2.txt, test.txt and 1 more",
        "not read: notes.pdf",
    ]


@pytest.mark.parametrize(
    ("name", "part"),
    [("Train", "train"), ("WIKI.VALID", "held_out"), ("held-out", "held_out"), ("train_test", None), ("news", None)],
)
def test_names(name, part):
    assert part_named(name) == part


def test_a_single_file_trains(tmp_path):
    (tmp_path / "test.txt").write_text("ba de\n")
    (tmp_path / "._test.txt").write_text("")
    for place in (tmp_path, tmp_path / "test.txt"):
        assert [file.name for file in corpus_files(str(place))["train"]] == ["test.txt"]


def test_linked_folders_are_read_once(tmp_path):
    (tmp_path / "lake" / "de").mkdir(parents=True)
    (tmp_path / "lake" / "de" / "0.txt").write_text("ba de\n")
    (tmp_path / "lake" / "de" / "back").symlink_to(tmp_path / "lake", target_is_directory=True)
    (tmp_path / "corpus").mkdir()
    for name in ("de", "same"):
        (tmp_path / "corpus" / name).symlink_to(tmp_path / "lake" / "de", target_is_directory=True)
    assert [str(file) for file in corpus_files(str(tmp_path / "corpus"))["train"]] == [
        str(tmp_path / "corpus/de/0.txt")
    ]
