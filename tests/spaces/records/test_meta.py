"""study.json says all of a study, and what is wrong with it."""

import dataclasses
import json

import pyarrow as pa
import pytest

from spaces.errors import StillhouseError
from spaces.records.latency import LatencySpec
from spaces.records.meta import FORMAT, ComparisonMeta, StudyMeta, TaskMeta, TeacherMeta
from spaces.records.schemas import Column
from spaces.students.architecture import StudentArchitecture

META = StudyMeta(
    name="x", created="2026-01-02", seed=1, space_digest="0", objectives=("quality", "latency_ms"),
    constraints={"latency_ms": 4.0}, train_tokens=1000, num_trials=2, sampler="tpe", protocol="probe",
    teacher=TeacherMeta(
        "t", "bert", "abc", StudentArchitecture(6, 384, 12, 1536), 1000, 512, 2, True,
        {"latency_p50_ms": None, "parameters": 12},
    ),
    tasks={
        "pos_de": TaskMeta("token_classification", "accuracy", 0.9, 0.5, (0.4, 0.6), 3, language="de"),
        "pairs": TaskMeta("regression", "spearman", 0.9, 0.5),
    },
    latency=LatencySpec(), hardware="Some CPU", versions={"torch": "2"}, prepare_s=1.5,
    comparison=ComparisonMeta((0, 1), None, ("3x192",), (1e-3,)), axes=(Column("gamma", pa.float64(), "", "a"),),
    named_shapes={"3x192": {"parameters": 1.0}},
)  # fmt: skip


def changed(**changes):
    """Its JSON with some values replaced, or left out where None."""
    table = {**json.loads(META.to_json()), **changes}
    return json.dumps({key: value for key, value in table.items() if value is not None})


def test_there_and_back():
    assert StudyMeta.from_json(META.to_json(), "there") == META
    assert StudyMeta.from_json(META.to_json(), "there").to_json() == META.to_json()
    assert META.languages == {"de": ["pos_de"]} and META.aim.limits_text == "latency_ms <= 4"
    least = dataclasses.replace(META, comparison=None, prepare_s=None, axes=(), constraints={})
    assert StudyMeta.from_json(least.to_json(), "there") == least


def test_all_problems_at_once_with_their_place():
    task = {"kind": "regression", "metric": "spearman", "teacher": "good"}
    with pytest.raises(StillhouseError) as caught:
        StudyMeta.from_json(changed(seed=True, objectives="quality", sampler=None, tasks={"sts": task}), "a/study.json")
    text = str(caught.value)
    assert text.startswith("a/study.json: ")
    for problem in (
        "seed must be a whole number, got True", "objectives must be a list, got 'quality'", "sampler is missing",
        "tasks.sts.floor is missing", "tasks.sts.teacher must be a number, got 'good'",
    ):  # fmt: skip
        assert problem in text


@pytest.mark.parametrize("text", ["[]", "3", json.dumps({"format": FORMAT + 1}), json.dumps({"name": "x"})])
def test_a_format_of_nobody_or_of_tomorrow_is_refused(text):
    with pytest.raises(StillhouseError, match=f"format must be 1 to {FORMAT}, got"):
        StudyMeta.from_json(text, "study.json")


def test_unknown_keys_are_named():
    assert StudyMeta.from_json(changed(latency={"device": "cpu", "speed": 1}, mood=1), "x").unknown == (
        "mood", "latency.speed",
    )  # fmt: skip
