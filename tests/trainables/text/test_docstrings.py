"""The docs corpus and its tasks, over a small library of made-up docstrings."""

import inspect
import os
import py_compile
import sysconfig
from concurrent.futures import ProcessPoolExecutor

import pyarrow.parquet as pq
import pytest

from spaces.errors import StillhouseError
from trainables.text import docstrings as docs
from trainables.text.docstrings import (
    code_of,
    docs_table,
    docs_texts,
    docstrings,
    is_prose,
    paragraphs,
    read_file,
)


def test_paragraphs_know_their_section():
    text = '"""Head\nline.\n\nParameters\n----------\nx : int\n    The x.\n\nReturns: \n  A value.'
    text += '\n\n*Notes*\n\nLast."""'
    found = [list(paragraphs(docstring)) for docstring in docstrings(compile(text, "a.py", "exec"))]
    assert found == [[
        ("description", "Head line."), ("parameters", "x : int The x."), ("returns", "A value."), ("notes", "Last."),
    ]]  # fmt: skip


def test_docstrings_of_everything_that_has_one():
    source = """
        "module"
        __doc__ += "no docstring"
        class A:
            "class"
            async def f(self):
                "method"
            class B:
                __doc__ = NAME
        def g():
            return "no docstring", [lambda: "nor this" for x in ()]
        def h():
            "function"
            def inner():
                "inner"
    """
    code = compile(inspect.cleandoc(source), "a.py", "exec")
    assert list(docstrings(code)) == ["module", "class", "method", "function", "inner"]
    assert list(docstrings(compile("'a' + b\nx = 'no docstring'", "a.py", "exec"))) == []
    assert list(docstrings(compile("'module'\ndef f():\n    global __doc__", "a.py", "exec"))) == ["module"]


def test_bytecode_is_read_where_it_belongs_to_the_source(tmp_path):
    """Of a source that changed it is not, and none is written."""
    file = tmp_path / "a.py"
    file.write_text('"""old"""')
    assert list(docstrings(code_of(str(file)))) == ["old"]
    assert list(tmp_path.iterdir()) == [file]
    py_compile.compile(str(file))
    written = file.stat().st_mtime
    file.write_text('"""new"""')
    os.utime(file, (written, written))  # as if nothing had been written
    assert list(docstrings(code_of(str(file)))) == ["old"]
    os.utime(file, (written, written + 1))
    assert list(docstrings(code_of(str(file)))) == ["new"]


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


def test_no_docstring_at_all(monkeypatch):
    monkeypatch.setattr(docs, "sources", lambda: [])
    with pytest.raises(StillhouseError, match="docs corpus is empty"):
        docs_table()


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
