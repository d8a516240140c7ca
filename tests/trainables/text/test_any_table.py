"""Any table, by whoever it was written and in any format, is read back as the same rows, or refused with the place.

EXAMPLES=2000 in the environment tries as many tables of each writer, drawn anew; otherwise a few, always the same.
"""

import csv
import gzip
import json
import os
from importlib.util import find_spec

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spaces.errors import SpecError
from trainables.text.file_texts import file_texts
from trainables.text.files import file_here
from trainables.text.tables import read_table

EXAMPLES = os.environ.get("EXAMPLES")
TRIED = settings(max_examples=int(EXAMPLES or 12), derandomize=EXAMPLES is None, deadline=None, database=None)
MARKS = [
    '"',
    '""',
    "'",
    ",",
    ";",
    "\t",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\\",
    "#",
    "NA",
    "null",
    "1",
    "\u2028",
    "\x0b",
    "\x85",
    "\0",
]
"""What formats and libraries take for more than a character."""
TEXTS = st.lists(st.one_of(st.sampled_from(MARKS), st.characters(exclude_categories=["Cs"])), max_size=6).map("".join)
NAMES = st.text('abcdefgh_ .,"', min_size=1, max_size=6)


@st.composite
def frames(draw, texts=TEXTS):
    """Two texts and a whole number in each row, under any names."""
    names = draw(st.lists(NAMES, min_size=3, max_size=3, unique=True))
    rows = draw(st.lists(st.tuples(texts, texts, st.integers(-(2**53), 2**53)), min_size=1, max_size=6))
    return pd.DataFrame(rows, columns=names).astype({names[2]: "int64"})


def python_csv(frame, path, **options):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **options).writerows([list(frame.columns), *frame.to_numpy().tolist()])


def arrow_csv(frame, path, delimiter):
    options = pyarrow.csv.WriteOptions(delimiter=delimiter)
    pyarrow.csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), path, options)


def python_jsonl(frame, path, **options):
    lines = [json.dumps(row, **options) for row in frame.to_dict("records")]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")


def duckdb_copy(frame, path, options):
    import duckdb

    duckdb.from_df(frame).query("given", f"COPY given TO '{path}' ({options})")


def zipped(write):
    def written(frame, path):
        plain = path.with_suffix("")
        write(frame, plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))

    return written


WRITERS = {
    "pandas.csv": lambda frame, path: frame.to_csv(path, index=False),
    "pandas_windows.csv": lambda frame, path: frame.to_csv(path, index=False, lineterminator="\r\n"),
    "marked.csv": lambda frame, path: frame.to_csv(path, index=False, encoding="utf-8-sig"),
    "python.csv": python_csv,
    "all_quoted.csv": lambda frame, path: python_csv(frame, path, quoting=csv.QUOTE_ALL),
    "arrow.csv": lambda frame, path: arrow_csv(frame, path, ","),
    "zipped.csv.gz": zipped(lambda frame, path: frame.to_csv(path, index=False)),
    "pandas.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "excel.tsv": lambda frame, path: python_csv(frame, path, dialect="excel-tab"),
    "all_quoted.tsv": lambda frame, path: python_csv(frame, path, dialect="excel-tab", quoting=csv.QUOTE_ALL),
    "arrow.tsv": lambda frame, path: arrow_csv(frame, path, "\t"),
    "pandas.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
    "ascii.jsonl": python_jsonl,
    "python.jsonl": lambda frame, path: python_jsonl(frame, path, ensure_ascii=False),
    "arrow.parquet": lambda frame, path: pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path),
    "coded.parquet": lambda frame, path: frame.astype(dict.fromkeys(frame.columns[:2], "category")).to_parquet(path),
}
if find_spec("duckdb"):
    WRITERS |= {
        "duckdb.csv": lambda frame, path: duckdb_copy(frame, path, "FORMAT csv, HEADER"),
        "duckdb.tsv": lambda frame, path: duckdb_copy(frame, path, "FORMAT csv, HEADER, DELIMITER '\\t'"),
        "duckdb.jsonl": lambda frame, path: duckdb_copy(frame, path, "FORMAT json"),
        "duckdb.parquet": lambda frame, path: duckdb_copy(frame, path, "FORMAT parquet"),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def is_read_back(frame, path, place=True):
    """As the same rows, all texts in files of text; or refused with the file, and the line where it has lines."""
    try:
        found = read_table(file_here(path)).columns
    except SpecError as error:
        assert str(path) in str(error) and "line" in str(error), error
        return False
    typed = path.suffix in (".parquet", ".jsonl")
    assert dict(found) == {name: list(frame[name] if typed else frame[name].map(str)) for name in frame.columns}
    return True


@pytest.mark.parametrize("writer", WRITERS)
def test_what_libraries_write(folder, writer):
    read = []

    @TRIED
    @given(frames())
    def one(frame):
        WRITERS[writer](frame, folder / writer)
        read.append(is_read_back(frame, folder / writer))

    one()
    assert sum(read) > 0.6 * len(read)


@TRIED
@given(frames(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), max_size=6)))
def test_plain_lines_as_glue_has_them(folder, frame):
    """Whatever quotation marks they hold, as long as no text looks exactly like a quoted field of CSV."""
    rows = [list(frame.columns), *frame.to_numpy().tolist()]
    assume(not any(str(each).startswith('"') for each in frame.columns))
    assume(not any('""' in str(each) for row in rows for each in row))
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (folder / "plain.tsv").write_text(text, encoding="utf-8", newline="")
    assert is_read_back(frame, folder / "plain.tsv")


@TRIED
@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_texts_of_a_corpus(folder, texts):
    """In every format the same; lines of plain text have no break within and no space around."""
    wanted = [text for text in texts if text.strip()]
    frame = pd.DataFrame({"text": texts, "number": range(len(texts))})
    for name in ("pandas.csv", "pandas.jsonl", "arrow.parquet", "python.jsonl"):
        WRITERS[name](frame, folder / name)
        try:
            assert list(file_texts(file_here(folder / name), "text")) == wanted
        except SpecError as error:
            assert "line" in str(error) and set("\0\r") & set("".join(texts))
    lines = [" ".join(text.replace("\0", "").split()) for text in texts]
    (folder / "a.txt").write_text("\r\n".join(lines) + "\n", encoding="utf-8", newline="")
    assert list(file_texts(file_here(folder / "a.txt"), "text")) == [line for line in lines if line]
