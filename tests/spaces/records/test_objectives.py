"""What a study may look for is recorded, and limits are on costs."""

import pytest

from spaces.errors import SpecError, StillhouseError
from spaces.records.columns import trials_columns
from spaces.records.costs import COSTS, Cost
from spaces.records.objectives import QUALITIES, aim_of, all_objectives
from spaces.records.schemas import FLOAT, Column


def test_objectives_are_qualities_and_costs_with_a_column_each():
    plain = {column.name for column in trials_columns([])}
    names = {column.name for column in trials_columns([], by_language=True)}
    assert names - plain == {"worst_language", "worst_language_quality"}
    assert list(all_objectives()) == [*QUALITIES, *COSTS]
    for name, objective in all_objectives().items():
        assert objective.name == name and objective.column in names and objective.unit and objective.label
        assert objective.direction == ("max" if name in QUALITIES else "min")


def test_costs_limit_and_qualities_do_not():
    with pytest.raises(SpecError, match="unknown cost 'quality'"):
        aim_of(["quality"], {"quality": 0.5})
    assert [cost.name for cost in aim_of(["quality", "flops"], {"latency_ms": 4}).costs] == ["flops"]


def test_most_speed_is_least_latency():
    assert [cost.name for cost in aim_of(["quality", "speed"], {}).costs] == ["latency_ms"]
    with pytest.raises(SpecError, match="unknown cost 'speed'"):
        aim_of(["quality"], {"speed": 2.0})


def test_a_cost_that_gives_other_columns_is_an_error():
    cost = Cost("disk_mb", "size on disk", "MB", 1, (Column("disk_mb", FLOAT, "MB", ""),), measured=lambda subject: {})
    with pytest.raises(StillhouseError, match="cost 'disk_mb' must give disk_mb, got nothing"):
        cost.measure(None)
