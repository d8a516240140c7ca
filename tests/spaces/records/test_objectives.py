"""What a study may look for is recorded, and every cost says all that is asked of it."""

import pytest

from spaces.errors import SpecError, StillhouseError
from spaces.records.columns import trials_columns
from spaces.records.costs import COSTS, Cost, known_costs
from spaces.records.latency import LatencySpec
from spaces.records.objectives import QUALITIES, aim_of, all_objectives
from spaces.records.schemas import FLOAT, Column
from spaces.students.architecture import StudentArchitecture
from trainables.models.teacher import read_facts

SHAPE = StudentArchitecture(2, 96, 12, 384)


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


@pytest.fixture(scope="module")
def facts():
    return read_facts("package:trainables/embedded_teacher")


@pytest.mark.parametrize("name", COSTS)
def test_every_cost(name, facts):
    """The contract: it is known or measured, gives a number for each of its columns, and can be named everywhere."""
    cost = COSTS[name]
    assert cost.name == name and (cost.known is None) != (cost.measured is None)
    assert (
        cost.head and cost.decimals >= 0 and cost.limit == f"max_{name}" and cost.label in f"{cost.title}{cost.amount}"
    )
    assert all(column.unit and column.meaning for column in cost.columns)
    assert {column.name for column in cost.columns} <= {column.name for column in trials_columns([])}
    if cost.known is not None:
        small, large = (known_costs(shape, facts, LatencySpec()) for shape in (SHAPE, facts.architecture))
        assert all(0 < small[column.name] < large[column.name] for column in cost.columns)


def test_a_cost_that_gives_other_columns_is_an_error():
    cost = Cost("disk_mb", "size on disk", "MB", 1, (Column("disk_mb", FLOAT, "MB", ""),), measured=lambda subject: {})
    with pytest.raises(StillhouseError, match="cost 'disk_mb' must give disk_mb, got nothing"):
        cost.measure(None)
