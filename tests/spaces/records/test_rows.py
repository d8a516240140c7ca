"""A row as a value and the row of the table are the same."""

from datetime import UTC, datetime

import pytest

from spaces.records.columns import trials_columns
from spaces.records.rows import LANGUAGES, TaskScore, TrialRow

EXAMPLES = {"int64": 3, "double": 0.5, "string": "some", "timestamp[us, tz=UTC]": datetime(2026, 1, 1, tzinfo=UTC)}
COLUMNS = {column.name: EXAMPLES[str(column.type)] for column in trials_columns(["a", "a_b"], by_language=True)}


def test_every_column_has_its_place():
    row = TrialRow.from_columns(COLUMNS, ["a", "a_b"])
    assert row.columns() == COLUMNS
    assert row.config["num_layers"] == row.trial == row.tasks["a_b"].probe_layer == row.costs["flops_per_token"] == 3
    assert row.value("latency_p50_ms") == row.value("quality") == row.quality == row.rank_quality == 0.5


def test_what_a_study_does_not_know_is_none():
    asked = {
        "trial": 0,
        "config_hash": "x",
        "seed": 1,
        "status": "failed",
        "depth": 4,
        "mapping": None,
        "quality": None,
    }
    row = TrialRow.from_columns(asked, ["a"])
    assert row == TrialRow(
        trial=0, config_hash="x", seed=1, status="failed", config={"depth": 4}, tasks={"a": TaskScore()}
    )
    assert row.value("quality") is row.value("latency_p50_ms") is row.value("of_no_registry") is None
    assert row.rank_quality == float("-inf") and not set(LANGUAGES) & set(row.columns())
    with pytest.raises(TypeError, match="config_hash"):
        TrialRow.from_columns({"trial": 0, "status": "failed", "seed": 1})
