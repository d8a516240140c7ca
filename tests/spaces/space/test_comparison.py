"""Which trials a comparison consists of."""

import pytest

from spaces.space.comparison import compared_configs, count_trials, kind_of, tuning_configs
from spaces.space.reading import read_space
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from trainables.models.families.bert import BertFacts

TEACHER = TeacherFacts("t", BertFacts("bert"), StudentArchitecture(6, 384, 12, 1536), 1000, 512, 2, True, "0" * 16)
TABLE = {
    "method": ["od", "hs", "mha"],
    "mapping": ["uniform", "last"],
    "relation_heads": [12],
    "teacher_layer": [5, 6],
    "temperature": [2.0],
    "shape": ["2x96", "3x192", "4x384"],
    "initialisation": ["projected_layers", "teacher_layers"],
    "learning_rate": [1e-3, 3e-3],
}


@pytest.fixture(scope="module")
def space():
    return read_space(TABLE, TEACHER, 64)


def test_each_kind_is_tuned_on_the_wanted_shape_at_every_rate(space):
    configs = tuning_configs(space, "3x192")
    kinds = {kind_of(config) for config in configs}
    assert kinds == {(m, s) for m in ("od", "hs", "mha") for s in ("projected_layers", "teacher_layers")}
    assert len(configs) == 12
    for config in configs:
        wanted = 384 if config["initialisation"] == "teacher_layers" else 192  # copying layers needs the full width
        assert config["hidden_size"] == wanted
        assert config.get("mapping", "uniform") == "uniform" and config.get("teacher_layer", 5) == 5


def test_one_rate_leaves_nothing_to_tune():
    space = read_space({**TABLE, "learning_rate": [1e-3]}, TEACHER, 64)
    assert tuning_configs(space, None) == []


def test_everything_is_compared_once_at_its_rate(space):
    rates = {kind_of(config): 3e-3 if config["method"] == "hs" else 1e-3 for config in space.enumerate()}
    configs = compared_configs(space, rates)
    assert len(configs) * 2 == len(list(space.enumerate()))
    assert all(config["learning_rate"] == rates[kind_of(config)] for config in configs)
    assert count_trials(space, 3) == (12, 3 * len(configs))
