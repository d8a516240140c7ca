"""What a stored spec says of a student's data, read without the rules of the rest."""

import tomllib

import pytest
import toy

from search.spec.writing import to_toml
from search.store.contents import stored_data
from spaces.errors import SpecError


def test_the_data_of_a_stored_spec_is_that_of_the_spec():
    spec, _ = toy.read()
    table = tomllib.loads(to_toml(spec))
    found = stored_data(table)
    assert (found.corpus, found.tasks, found.evaluation) == (spec.corpus, spec.tasks, spec.evaluation)
    table["tasks"][0]["colour"] = "red"
    table["evaluation"]["layer"] = 3
    with pytest.raises(SpecError) as refused:
        stored_data(table)
    assert len(refused.value.problems) == 2 and "unknown key 'colour'" in str(refused.value)
