"""What a spec may say: for people, and as a JSON schema for editors."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from search.spec.explain import explain, schema
from search.spec.sections import SECTIONS
from spaces.space.axes import all_axes
from trainables.tasks.spec import TaskSpec

SPECS = sorted((Path(__file__).parents[3] / "search" / "specs").glob("*.toml"))
QUICK = tomllib.loads(next(path for path in SPECS if path.stem == "quick").read_text())


def test_explain_names_every_key_and_axis():
    text = explain()
    for section in (*SECTIONS.values(), TaskSpec):
        for name in section.__dataclass_fields__:
            assert f"\n{name} = " in text
    for name, axis in all_axes().items():
        assert f"\n{name} = " in text and axis.meaning in text


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_shipped_specs_obey_the_schema(path):
    jsonschema.validate(tomllib.loads(path.read_text()), json.loads(schema()))


@pytest.mark.parametrize(
    ("section", "wrong", "words"),
    [
        ("corpus", {"source": "docs", "sequence_length": 4}, "4 is less than the minimum of 8"),
        ("budget", {"trails": 3}, "'trails' was unexpected"),
        ("search", {"sampler": "tpee"}, "'tpee' is not one of"),
        ("space", {"shape": "2x96"}, "'method' is a required property"),
        ("search", {"objectives": "quality"}, "is not of type 'array'"),
        ("deploy", {"precision": "int8+0"}, "'int8[+]0' does not match"),
        ("deploy", {"precision": ["int8", "fp32+2"]}, "'fp32[+]2' does not match"),
    ],
)
def test_the_schema_refuses_what_a_check_would_refuse(section, wrong, words):
    with pytest.raises(jsonschema.ValidationError, match=words):
        jsonschema.validate({**QUICK, section: wrong}, json.loads(schema()))


def test_the_schema_takes_maps_in_float():
    for precision in ("int8+12", ["fp32", "int8-dynamic+4", "int4-weights+1"]):
        jsonschema.validate({**QUICK, "deploy": {"precision": precision}}, json.loads(schema()))
