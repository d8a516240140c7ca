"""The contract of costs, over every entry: ours and those of installed packages."""

import math
from dataclasses import replace

import pytest

from spaces.records.columns import trials_columns
from spaces.records.costs import COSTS
from spaces.records.latency import LatencySpec
from spaces.records.runtimes import TORCH
from spaces.students.architecture import StudentArchitecture, parse_shape
from trainables.export.measuring import subject_of
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher

SMALL, LARGE = StudentArchitecture(1, 48, 12, 96), parse_shape("6x192")
SETTING = LatencySpec(sequence_length=32, throughput_batch=4, memory=True)


@pytest.fixture(scope="module")
def teacher():
    return load_teacher("package:trainables/embedded_teacher")


def found(cost, shape, teacher):
    """What the cost says of a shape, known or measured."""
    if cost.chosen is not None:
        return cost.checked(cost.chosen(vars(shape), teacher.facts))
    if cost.known is not None:
        return cost.checked(cost.known(shape, teacher.facts, SETTING))
    config = {"method": "hs", "initialisation": "random", **vars(shape)}
    with subject_of(build_student(config, teacher, 0), shape, teacher.facts, SETTING) as subject:
        if TORCH not in cost.runtimes:  # tracing a file takes seconds: another of its size stands for it
            subject = replace(subject, file=subject.folder() / "model.safetensors")
            subject = replace(subject, unrounded=subject)
        return cost.measure(subject)


@pytest.mark.parametrize("name", COSTS)
def test_every_cost(name, teacher):
    """It comes from one place, is larger for a much larger student, and can be named wherever costs are shown."""
    cost = COSTS[name]
    assert cost.name == name and [cost.known, cost.chosen, cost.measured].count(None) == 2
    small, large = found(cost, SMALL, teacher), found(cost, LARGE, teacher)
    for column in cost.columns:
        assert column.unit and column.meaning
        if column.name == cost.unrounded and large[column.name] is None:
            continue
        assert math.isfinite(large[column.name])
        assert column.name == cost.moves or 0 < small[column.name] < large[column.name]
    assert {column.name for column in cost.columns} <= {column.name for column in trials_columns([])}
    assert cost.head and cost.decimals >= 0 and cost.limit == f"max_{name}"
    assert cost.label in f"{cost.title} {cost.amount}"
