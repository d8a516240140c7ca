"""What was written earlier is read by the columns of today."""

import pyarrow as pa
import pytest

from spaces.errors import StillhouseError
from spaces.records import schemas

COLUMNS = (
    schemas.Column("trial", schemas.INT, "number", ""),
    schemas.Column("mood", schemas.TEXT, "", "came later", since=2),
)


def test_columns_added_later_read_as_null_and_others_are_left_out():
    older = pa.table({"trial": [1, 2], "params": ["{}", "{}"]})
    assert schemas.conformed(older, COLUMNS, "here").to_pylist() == [
        {"trial": 1, "mood": None},
        {"trial": 2, "mood": None},
    ]
    assert schemas.conformed(older.slice(0, 0), COLUMNS, "here").schema.equals(schemas.schema(COLUMNS))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"mood": ["good"]}, r"a/part\.parquet has no column 'trial'"),
        ({"trial": [1], "mood": [3.5]}, r"a/part\.parquet: column 'mood' must be of type string, got double"),
        ({"trial": ["one"]}, r"column 'trial' must be of type int64, got string"),
    ],
)
def test_wrong_columns_are_errors_with_their_place(table, problem):
    with pytest.raises(StillhouseError, match=problem):
        schemas.conformed(pa.table(table), COLUMNS, "a/part.parquet")
