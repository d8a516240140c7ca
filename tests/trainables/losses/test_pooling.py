"""The axis of a student's own pooling: what is legal beside a teacher, and what comes to the same."""

import pytest

from spaces.errors import SpecError
from spaces.space.reading import read_space
from spaces.students.architecture import EmbeddingFacts, StudentArchitecture, TeacherFacts
from trainables.models.families.bert import BertFacts

LARGE = StudentArchitecture(4, 18, 3, 36)


def poolings(named, own=("mean",)):
    """Those that trials of a teacher can have, as the spec names them."""
    teacher = TeacherFacts("t", BertFacts("bert"), LARGE, 11, 64, 2, False, "0", EmbeddingFacts(own))
    table = {"method": ["embed"], "shape": ["2x12"], "learning_rate": [1e-3], "initialisation": ["random"]}
    space = read_space(table | {"student_pooling": named}, teacher, 16)
    return [config["student_pooling"] for config in space.enumerate()]


def test_the_name_of_the_teachers_own_pooling_is_not_tried_twice():
    assert poolings(["teacher", "cls"]) == ["teacher", "cls"] and poolings(["cls", "mean"]) == ["cls", "mean"]
    with pytest.raises(SpecError, match="student_pooling 'mean' is the same as 'teacher'"):
        poolings(["teacher", "cls", "mean"])


def test_poolings_side_by_side_stay_as_they_are():
    assert poolings(["teacher"], ("cls", "mean")) == ["teacher"]
    with pytest.raises(SpecError, match="pools cls and mean side by side, and so must its students: 'max' is narrower"):
        poolings(["teacher", "max"], ("cls", "mean"))


def test_an_unknown_pooling_is_refused_with_the_nearest():
    with pytest.raises(SpecError, match=r"unknown student_pooling 'meen'.*mean"):
        poolings(["meen"])
