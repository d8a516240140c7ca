#!/usr/bin/env bash
# DuckDB 2.0.1: a folder of Parquet parts takes its column types from the first part, and later parts are cast to them.
#
# Two parts of one data set, each valid: in the first the column happens to hold whole numbers (int64), in the second
# fractions (double). `select * from 'folder/*.parquet'` rounds the fractions without a word: 2.6 comes back as 3. The
# same rows in the other order come back exactly, so the answer depends on the names of the files. With
# union_by_name = true the wider type is taken. pyarrow refuses to read the pair with the schema of the first.
# Seen: duckdb 2.0.1, pyarrow 26.0.1. Source: duckdb.org/docs, "Combining Schemas" says that types come from the first
# file; that the cast rounds is not said there.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1
cd "$folder"
cat > look.py <<'PY'
import os

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq


def part(path, values, kind):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pq.write_table(pa.table({"latency_ms": pa.array(values, kind)}), path)


part("whole_first/part-0.parquet", [3, 4], pa.int64())
part("whole_first/part-1.parquet", [2.6], pa.float64())
part("fraction_first/part-0.parquet", [2.6], pa.float64())
part("fraction_first/part-1.parquet", [3, 4], pa.int64())


def read(source):
    return sorted(row[0] for row in duckdb.sql(f"select latency_ms from {source}").fetchall())


rounded, exact = read("'whole_first/*.parquet'"), read("'fraction_first/*.parquet'")
by_name = read("read_parquet('whole_first/*.parquet', union_by_name = true)")
print("duckdb", duckdb.__version__, "whole numbers first:", rounded, "fractions first:", exact, "by name:", by_name)
assert rounded == [3, 3, 4] and exact == [2.6, 3.0, 4.0] == by_name, "the behaviour has changed"
PY
venv/bin/python look.py
