"""Files are read back as what was written, whoever wrote them, or are refused with the line."""

import csv
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from spaces.errors import SpecError
from trainables.text.tables import read_table

PIECES = [
    '"',
    '""',
    "'",
    ",",
    ";",
    " ",
    "a",
    "word",
    "NA",
    "null",
    "1",
    "\u2028",
    "\x0b",
    "\u00e9",
    "\U0001f600",
    "\\",
    "#",
]
BREAKS = ["\t", "\n", "\r\n"]


def lines(frame, path):
    """As GLUE is published: nothing is quoted."""
    rows = [list(frame.columns), *frame.to_numpy().tolist()]
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8", newline="")


def python_csv(frame, path, **options):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **options).writerows([list(frame.columns), *frame.to_numpy().tolist()])


def arrow_csv(frame, path, delimiter):
    options = pyarrow.csv.WriteOptions(delimiter=delimiter)
    pyarrow.csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), path, options)


WRITERS = {
    "pandas.csv": lambda frame, path: frame.to_csv(path, index=False),
    "all_quoted.csv": lambda frame, path: python_csv(frame, path, quoting=csv.QUOTE_ALL),
    "arrow.csv": lambda frame, path: arrow_csv(frame, path, ","),
    "pandas.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "excel.tsv": lambda frame, path: python_csv(frame, path, dialect="excel-tab"),
    "all_quoted.tsv": lambda frame, path: python_csv(frame, path, dialect="excel-tab", quoting=csv.QUOTE_ALL),
    "arrow.tsv": lambda frame, path: arrow_csv(frame, path, "\t"),
    "pandas.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
    "arrow.parquet": lambda frame, path: pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path),
}


def drawn(rng, pieces, count):
    texts = ["".join(rng.choice(pieces, rng.integers(1, 7))) for _ in range(count)]
    return pd.DataFrame({"text": texts, "label": rng.choice(["yes", "no"], count)})


@pytest.mark.parametrize("writer", WRITERS)
def test_what_libraries_write_is_read_back(tmp_path, writer):
    rng = np.random.default_rng(0)
    for _ in range(60):
        frame = drawn(rng, PIECES + BREAKS, 8)
        WRITERS[writer](frame, tmp_path / writer)
        found = read_table(tmp_path / writer).columns
        assert found == {"text": frame["text"].tolist(), "label": frame["label"].tolist()}


def test_plain_lines_are_read_back(tmp_path):
    """Whatever quotation marks they hold, as long as no text looks exactly like a quoted field of CSV."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        frame = drawn(rng, [piece for piece in PIECES if piece != '""'], 8)
        frame["text"] = frame["text"].str.replace('""', '"')
        lines(frame, tmp_path / "train.tsv")
        assert read_table(tmp_path / "train.tsv").columns["text"] == frame["text"].tolist()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "text,label\na,0\nb\n", "line 3: 1 fields where the header has 2"),
        ("a.csv", 'text,label\na,0\n"b" c,1\nd,0\n', "line 3: "),
        ("a.csv", 'text,label\na,0\n"b,1\nd,0\n', "line 3: "),
        ("a.tsv", "text\tlabel\na\t0\nb\t1\tc\n", "line 3: 3 fields where the header has 2"),
        ("a.tsv", "", "is empty"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": ', "line 3: not valid JSON"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2: not an object"),
        ("a.csv", "text,label\na,0\ncaf\xe9,1\n", "line 3: not UTF-8"),
        ("a.csv", "t\0e\0x\0t\0\n\0", "line 1: not UTF-8"),
        ("a.jsonl", '{"text": "a"}\n{"text": "\\ud83d cut"}\n', "line 2: half a character"),
        ("a.csv.gz", "text,label\na,0\n", "cannot be read: Not a gzipped file"),
        ("a.parquet", "nothing", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(SpecError, match=problem) as caught:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_marks_long_lines_and_columns_that_nobody_asks_for(tmp_path):
    row = json.dumps({"text": "word " * 300_000, "label": 0})
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + row.encode() + b"\n\n" + row.encode())
    assert len(read_table(tmp_path / "a.jsonl").columns["label"]) == 2
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext,label,note,note\r\na,0,x,y\r\n")
    found = read_table(tmp_path / "a.csv")
    assert (found.columns, found.twice) == ({"text": ["a"], "label": ["0"]}, {"note"})
    taken = pa.table([["a"], [1], [2], [pa.scalar(10**15, pa.timestamp("s"))]], names=["text", "note", "note", "far"])
    pq.write_table(taken, tmp_path / "a.parquet")
    found = read_table(tmp_path / "a.parquet")
    assert (found.columns["text"], [*found.columns], found.twice) == (["a"], ["text", "far"], {"note"})
    with pytest.raises(SpecError, match="column 'far' cannot be read"):
        found.columns["far"]
