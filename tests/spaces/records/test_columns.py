"""The schemas explain themselves and hold what a study writes."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spaces.errors import StillhouseError
from spaces.records import columns as records
from spaces.records.schemas import Column
from spaces.records.schemas import schema as schema_of
from spaces.space.axes import COMMON, METHOD, SIZES
from spaces.students.axis import Axis, whole
from spaces.students.transfer import METHODS

TABLES = {
    "trials": records.trials_columns(["sst2", "docs"]),
    "reports": records.reports_columns(),
    "asked": records.asked_columns(),
    "test_scores": records.test_scores_columns(),
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_unique_and_explained(name):
    columns = TABLES[name]
    names = [column.name for column in columns]
    assert len(names) == len(set(names)) and names[0] == "trial"
    assert all(column.meaning for column in columns)


@pytest.mark.parametrize("name", TABLES)
def test_units_and_meanings_travel_with_the_file(name, tmp_path):
    columns = TABLES[name]
    pq.write_table(schema_of(columns).empty_table(), tmp_path / "part.parquet")
    read = pq.read_schema(tmp_path / "part.parquet")
    for column in columns:
        field = read.field(column.name)
        assert field.type == column.type
        assert field.metadata[b"unit"].decode() == column.unit and field.metadata[b"meaning"].decode() == column.meaning


def test_every_task_has_its_three_columns():
    names = [column.name for column in records.trials_columns(["sst2", "docs"])]
    for task in ("sst2", "docs"):
        assert {f"score_{task}", f"recovered_{task}", f"probe_layer_{task}"} <= set(names)
    assert len(names) == len(records.trials_columns([])) + 6


def test_axes_have_the_columns_that_their_methods_say():
    """Those of the methods that came with stillhouse stand in every study; others in studies that search over them."""
    own = Axis("depth", int, whole, "how deep", "layers")
    axes = [axis for method in METHODS.values() for axis in method.axes]
    column = Column("depth", records.INT, "layers", "how deep")
    assert records.axis_columns([*axes, own])[-1] == column
    known = {column.name: column for column in (*records.trials_columns([]), *records.axis_columns(axes))}
    types = {str: records.TEXT, int: records.INT, float: records.FLOAT}
    for axis in (METHOD, *SIZES[:3], *axes, *COMMON):
        assert known[axis.name] == Column(axis.name, types[axis.kind], axis.unit, axis.meaning)
    names = [column.name for column in records.trials_columns([], axes=[column])]
    assert names.index("seed") < names.index("depth") < names.index("quality")
    with pytest.raises(StillhouseError, match="axes cannot be named like columns of the trials table: quality, trial"):
        records.axis_columns([replace(own, name="quality"), own, replace(own, name="trial")])


def test_a_row_without_an_axis_is_null_there():
    schema = schema_of(records.trials_columns([]))
    row = pa.Table.from_pylist([{"trial": 0, "method": "mha", "relation_heads": 12}], schema=schema).to_pylist()[0]
    assert row["relation_heads"] == 12 and row["mapping"] is None and row["temperature"] is None


def test_every_dataset_has_its_columns():
    assert tuple(records.dataset_columns(["sst2"])) == records.DATASETS
