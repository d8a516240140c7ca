#!/usr/bin/env bash
# DuckDB 2.0.1: a query over a Parquet file with a NaN answers otherwise than the same query over the same rows.
#
# DuckDB orders NaN above every number, so `max` of a column with one is NaN and `x > 0.95` holds for it. Over a Parquet
# file it answers from the column's statistics where it can, and writers leave NaN out of those (the format asks for
# it): `max` is 0.9 and the filter finds no row. A leaderboard read straight from files and one read from a table of
# the same rows disagree about the best row. Records that others read by SQL should hold null, never NaN.
# Seen: duckdb 2.0.1, files by pyarrow 26.0.1. Source: the Parquet format's rules for statistics of floating point
# columns (parquet.thrift, TypeDefinedOrder).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1
cd "$folder"
cat > look.py <<'PY'
import math

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

rows = pa.table({"trial": [0, 1, 2], "quality": [0.5, math.nan, 0.9]})
pq.write_table(rows, "trials.parquet")


def ask(query):
    return [duckdb.sql(query.format(source)).fetchall()[0][0] for source in ("'trials.parquet'", "rows")]


(best_file, best_rows), (above_file, above_rows) = (
    ask("select max(quality) from {}"), ask("select count(*) from {} where quality > 0.95")
)
print("duckdb", duckdb.__version__, "max: file", best_file, "rows", best_rows, "above 0.95:", above_file, above_rows)
assert best_file == 0.9 and math.isnan(best_rows), "the behaviour has changed"
assert (above_file, above_rows) == (0, 1), "the behaviour has changed"
PY
venv/bin/python look.py
