"""What a study may look for is measured and recorded."""

from spaces.records.columns import trials_columns
from spaces.records.objectives import OBJECTIVES


def test_objectives_name_columns_of_the_trials_table():
    plain = {column.name for column in trials_columns([])}
    names = {column.name for column in trials_columns([], by_language=True)}
    assert names - plain == {"worst_language", "worst_language_quality"}
    assert set(OBJECTIVES) == {"quality", "worst_language_quality", "parameters", "latency_ms", "flops"}
    for name, objective in OBJECTIVES.items():
        assert objective.name == name and objective.column in names and objective.direction in ("max", "min")
