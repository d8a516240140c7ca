"""What cannot be read is refused with the line; marks, long lines and unused columns are no obstacle."""

import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from spaces.errors import SpecError
from trainables.text.files import file_here
from trainables.text.tables import read_table


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "text,label\na,0\nb\n", "line 3: 1 fields where the header has 2"),
        ("a.csv", 'text,label\na,0\n"b" c,1\nd,0\n', "line 3: "),
        ("a.csv", 'text,label\na,0\n"b,1\nd,0\n', "line 3: "),
        ("a.tsv", "text\tlabel\na\t0\nb\t1\tc\n", "line 3: 3 fields where the header has 2"),
        ("a.tsv", 'text\tlabel\nb\t0\n"a\tb\nc"\t1\n', "line 3: a quotation mark opens here"),
        ("a.tsv", "", "is empty"),
        ("a.jsonl", '[\n{"text": "a"}\n]', "line 1: .* no list of them"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": ', "line 3: not valid JSON"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2: not an object"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b", "text": "c"}\n', "line 2: .* 'text' stands in one object twice"),
        ("a.csv", "text,label\na,0\ncaf\xe9,1\n", "line 3: not UTF-8"),
        ("a.csv", "t\0e\0x\0t\0\n\0", "line 1: not UTF-8"),
        ("a.jsonl", '{"text": "a"}\n{"text": "\\ud83d cut"}\n', "line 2: half a character"),
        ("a.csv.gz", "text,label\na,0\n", "cannot be read: Not a gzipped file"),
        ("a.csv.zst", "text,label\na,0\n", "a.csv.zst cannot be read: ZSTD decompress failed"),
        ("a.parquet", "nothing", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(SpecError, match=problem) as caught:
        read_table(file_here(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


def test_a_row_over_lines_is_known_by_the_names_of_the_columns(tmp_path):
    (tmp_path / "a.tsv").write_text('"text"\t"label"\n"b"\t"0"\n"a\tb\nc"\t"1"\n')
    assert read_table(file_here(tmp_path / "a.tsv")).columns == {"text": ["b", "a\tb\nc"], "label": ["0", "1"]}


def test_marks_long_lines_and_columns_that_nobody_asks_for(tmp_path):
    row = json.dumps({"text": "word " * 300_000, "label": 0})
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + row.encode() + b"\n\n" + row.encode())
    assert len(read_table(file_here(tmp_path / "a.jsonl")).columns["label"]) == 2
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext,label,note,note\r\na,0,x,y\r\n")
    found = read_table(file_here(tmp_path / "a.csv"))
    assert (found.columns, found.twice) == ({"text": ["a"], "label": ["0"]}, {"note"})
    taken = pa.table([["a"], [1], [2], [pa.scalar(10**15, pa.timestamp("s"))]], names=["text", "note", "note", "far"])
    pq.write_table(taken, tmp_path / "a.parquet")
    found = read_table(file_here(tmp_path / "a.parquet"))
    assert (found.columns["text"], [*found.columns], found.twice) == (["a"], ["text", "far"], {"note"})
    with pytest.raises(SpecError, match="column 'far' cannot be read"):
        found.columns["far"]
