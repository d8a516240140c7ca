"""What changed in a study's content is named and counted."""

from spaces.records.contents import Part, changes, digest_of, files_part, from_json, to_json


def rows(text, **more):
    return {"train": Part(tuple(f"{ord(each):012x}" for each in text), **more)}


def files(**named):
    return {"files": files_part({name: digest * 12 for name, digest in named.items()})}


def test_rows_are_counted():
    for now, words in {
        "abcXYf": ["task 'x': 2 of 6 rows of train differ"],
        "abcde": ["task 'x': 1 of 6 rows of train differ, 5 are there now"],
        "abcdefgh": ["task 'x': 2 of 6 rows of train differ, 8 are there now"],
        "fbcdea": ["task 'x': the 6 rows of train stand in another order"],
        "abcdef": [],
    }.items():
        assert changes("task 'x'", rows("abcdef"), rows(now)) == words
        assert (digest_of(rows("abcdef")) == digest_of(rows(now))) == (not words)
    assert changes("task 'x'", rows("ab"), {}) == ["task 'x': train was there"]


def test_files_are_named():
    before = files(a="1", b="2", c="3")
    assert changes("corpus", before, files(b="2", a="1", c="3")) == []
    assert changes("corpus", before, files(a="1", b="9", c="3")) == ["corpus: b is changed"]
    assert changes("corpus", before, files(a="9", b="9", d="3")) == [
        "corpus: 2 of 3 files are changed, the first is a", "corpus: d is new", "corpus: c is gone",
    ]  # fmt: skip


def test_an_earlier_study_may_grow_but_not_change():
    assert changes("warm start 1", rows("abc", grows=True), rows("abcd", grows=True)) == []
    assert len(changes("warm start 1", rows("abc", grows=True), rows("abd", grows=True))) == 1
    assert len(changes("warm start 1", rows("abc", grows=True), rows("ab", grows=True))) == 1


def test_contents_come_back_from_their_file():
    contents = {"teacher": files(a="1", b="2"), "task 'x'": rows("abc"), "warm start 1": rows("ab", grows=True)}
    assert from_json(to_json(contents)) == contents
