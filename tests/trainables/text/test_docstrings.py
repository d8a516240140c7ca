"""The docs corpus and its tasks, over a small library of made-up docstrings."""

import sysconfig
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest

from spaces.errors import SpecError, StillhouseError
from trainables.text import docstrings as docs
from trainables.text.docstrings import (
    PACKAGE_NAMES,
    docs_table,
    docs_task,
    docs_texts,
    docstrings,
    is_prose,
    paragraphs,
    read_file,
)

PACKAGES = ("python", "torch", "transformers", "ray", "pandas", "scipy", "sklearn", "sympy")
WORDS = [f"{a}{b}ing" for a in ("walk", "read", "writ", "count", "sort", "bind") for b in ("", "er", "ab", "ol", "un")]
DOCSTRING = '''def function_{number}():
    """{0} of NumPy and {package} arrays.

    {1}

    Parameters
    ----------
    x : array
        {2}

    Returns:
        {3}

    Notes
    -----
    {4}

    {6}

    Examples
    --------
    {5}

    >>> f(1, 2)[0] == {{}} != [[1, 2], [3, 4]]
    """
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    """60 docstrings in each package; every paragraph is its own random words, one is the same everywhere."""
    rng = np.random.default_rng(0)
    files = []
    for package in PACKAGES:
        functions = []
        for number in range(60):
            texts = [" ".join(rng.choice(WORDS, size=12)) for _ in range(6)]
            functions.append(DOCSTRING.format(*texts, "the very same paragraph in every docstring there is",
                                              number=number, package=package))  # fmt: skip
        path = tmp_path / f"{package}.py"
        path.write_text("\n".join(functions))
        files.append((package, str(path)))
    (tmp_path / "broken.py").write_text('"""A file that does not parse, whatever is written here."""\ndef (')
    monkeypatch.setattr(docs, "sources", lambda: [*files, ("torch", str(tmp_path / "broken.py"))])
    # One thread: CPython 3.11.7 may raise SystemError where several threads call ast.parse at once.
    monkeypatch.setattr(docs, "ProcessPoolExecutor", partial(ThreadPoolExecutor, 1))
    return tmp_path


def test_paragraphs_know_their_section():
    text = '"""Head\nline.\n\nParameters\n----------\nx : int\n    The x.\n\nReturns: \n  A value.'
    text += '\n\n*Notes*\n\nLast."""'
    found = [list(paragraphs(docstring)) for docstring in docstrings(text)]
    assert found == [[
        ("description", "Head line."), ("parameters", "x : int The x."), ("returns", "A value."), ("notes", "Last."),
    ]]  # fmt: skip


def test_docstrings_of_everything_that_has_one():
    source = '"""module"""\nclass A:\n    """class"""\n    async def f(self):\n        """method"""\ndef g(): pass\n'
    assert list(docstrings(source)) == ["module", "class", "method"]


def test_prose():
    assert is_prose("a sentence of more than forty letters is prose")
    assert not is_prose("too short")
    assert not is_prose(">>> f(1, 2)[0] == {} != [[1, 2], [3, 4]] # but mostly signs, though long enough")
    assert not is_prose("a sentence of more than forty letters is prosé")


def test_files_that_do_not_parse_give_nothing(tmp_path):
    for content in (b'"""x"""\ndef (', b'"""\xff"""', b'"""x"""\x00'):
        (tmp_path / "a.py").write_bytes(content)
        assert read_file(("torch", str(tmp_path / "a.py"))) == []


def test_no_docstring_and_no_text_is_in_two_splits(library):
    rows = pq.read_table(docs_table()).to_pylist()
    assert len(rows) > 8 * 60 * 4
    assert {row["split"] for row in rows} == {"train", "dev", "test"}
    for column in ("docstring", "text"):
        splits = {}
        for row in rows:
            splits.setdefault(row[column], set()).add(row["split"])
        assert all(len(found) == 1 for found in splits.values())
    assert len({row["text"] for row in rows}) == len(rows)
    shares = [sum(row["split"] == split for row in rows) / len(rows) for split in ("dev", "test")]
    assert all(0.05 < share < 0.15 for share in shares)
    assert set(docs_texts("train")).isdisjoint(docs_texts("dev"))


def test_the_table_is_built_once(library, monkeypatch):
    monkeypatch.setattr(docs, "ProcessPoolExecutor", ProcessPoolExecutor)
    table = docs_table()
    monkeypatch.setattr(docs, "sources", lambda: pytest.fail("read again"))
    assert docs_table() == table


@pytest.mark.parametrize("name", ["package", "section"])
def test_classes_are_of_equal_size(library, name):
    task = docs_task(name)
    for split, examples in task.items():
        counts = np.bincount(examples["label"], minlength=len(examples["label_names"]))
        assert counts.min() == counts.max() > 0, split
        assert sorted(set(examples["label"])) == list(range(len(examples["label_names"])))
    assert task == docs_task(name)
    texts = [set(examples["text"]) for examples in task.values()]
    assert texts[0].isdisjoint(texts[1]) and texts[0].isdisjoint(texts[2]) and texts[1].isdisjoint(texts[2])


def test_package_labels_are_right_and_cannot_be_read_off(library):
    rows = pq.read_table(docs_table()).to_pylist()
    truth = {docs.hide_names(row["text"]): row["package"] for row in rows}
    examples = docs_task("package")["train"]
    assert any("and it arrays" in text for text in examples["text"])
    for text, label in zip(examples["text"], examples["label"], strict=True):
        assert not PACKAGE_NAMES.search(text)
        assert not {*PACKAGES, "numpy"}.intersection(text.lower().replace(".", " ").split())
        if "arrays" not in text:
            assert truth[text] == examples["label_names"][label]


def test_section_labels_are_right(library):
    truth = {docs.hide_names(row["text"]): row["section"] for row in pq.read_table(docs_table()).to_pylist()}
    examples = docs_task("section")["dev"]
    for text, label in zip(examples["text"], examples["label"], strict=True):
        assert truth[text] == examples["label_names"][label]


def test_pairs_are_right_and_about_even(library):
    docstring = {row["text"]: row["docstring"] for row in pq.read_table(docs_table()).to_pylist()}
    examples = docs_task("pairs")["train"]
    for first, second, label in zip(examples["text"], examples["text2"], examples["label"], strict=True):
        assert (docstring[first] == docstring[second]) == bool(label)
        assert first != second
    assert 0.4 < np.mean(examples["label"]) < 0.6


def test_half_of_the_texts_have_two_neighbours_swapped(library):
    rows = [row for row in pq.read_table(docs_table()).to_pylist() if row["split"] == "train"]
    texts = {tuple(row["text"].split()) for row in rows}
    bags = {tuple(sorted(words)) for words in texts}
    examples = docs_task("order")["train"]
    assert abs(np.mean(examples["label"]) - 0.5) <= 0.5 / len(examples["label"])
    for text, label in zip(examples["text"], examples["label"], strict=True):
        words = tuple(text.split())
        assert docs.SHORTEST <= len(words) <= docs.LONGEST
        assert tuple(sorted(words)) in bags  # nothing but the order has changed
        undone = {(*words[:k], words[k + 1], words[k], *words[k + 2 :]) for k in range(len(words) - 1)}
        assert (words in texts) != bool(label)
        assert not label or undone & texts


def test_a_package_that_is_absent_is_named(library, monkeypatch):
    kept = [(package, path) for package, path in docs.sources() if package != "sympy"]
    monkeypatch.setattr(docs, "sources", lambda: kept)
    with pytest.raises(SpecError, match="no paragraph of sympy"):
        docs_task("package")


def test_no_docstring_at_all(monkeypatch):
    monkeypatch.setattr(docs, "sources", lambda: [])
    with pytest.raises(StillhouseError, match="docs corpus is empty"):
        docs_table()


def test_an_unknown_task_is_refused():
    with pytest.raises(SpecError, match="packages"):
        docs_task("packages")


def test_sources_are_python_files_outside_of_tests(tmp_path, monkeypatch):
    for name in ("lib/json.py", "lib/test/a.py", "lib/pkg/b.py", "lib/pkg/c.txt", "site/mine/__init__.py",
                 "site/mine/tests/d.py", "site/mine/models/e.py", "site/mine/deep/f.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path / "lib")})
    monkeypatch.setattr(docs, "PACKAGES", ("mine", "no_such_package"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = [(package, path.removeprefix(f"{tmp_path}/")) for package, path in docs.sources()]
    assert found == [
        ("python", "lib/json.py"), ("python", "lib/pkg/b.py"), ("mine", "site/mine/__init__.py"),
        ("mine", "site/mine/deep/f.py"),
    ]  # fmt: skip
