"""Settings of the command line come before the checks, and what cannot be read is said at once."""

import pytest

from search.spec.changes import changed
from spaces.errors import SpecError

TABLE = {"seed": 1, "budget": {"trials": 3}, "space": {}, "tasks": [{"name": "tickets", "kind": "classification"}]}


def test_values_are_read_as_toml_and_put_in_their_place():
    changes = ["budget.trials=40", "seed = 7", 'space.method=["hs", "mha"]', "tasks.tickets.weight=2.5",
               "teacher.path=intfloat/e5", "search.constraints={ latency_ms = 4.0 }"]  # fmt: skip
    found = changed(TABLE, changes)
    assert found["budget"] == {"trials": 40} and found["seed"] == 7 and found["space"] == {"method": ["hs", "mha"]}
    assert found["tasks"][0]["weight"] == 2.5 and found["teacher"] == {"path": "intfloat/e5"}
    assert found["search"] == {"constraints": {"latency_ms": 4.0}}
    assert TABLE["budget"] == {"trials": 3} and "weight" not in TABLE["tasks"][0]


def test_all_that_cannot_be_read_is_told_at_once():
    with pytest.raises(SpecError) as error:
        changed(TABLE, ["trials", "tasks.ticket.weight=2", "seed.x=1", "a.b.c=1"])
    problems = error.value.problems
    assert len(problems) == 4 and "must be KEY=VALUE" in problems[0] and "Did you mean 'tickets'?" in problems[1]
    assert "seed is no table" in problems[2] and "tasks.NAME.key" in problems[3]
