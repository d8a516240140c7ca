"""Shapes and their names; sizes that are published. Families count in tests/trainables/models/test_families.py."""

import dataclasses

import pytest

from spaces.errors import SpecError
from spaces.students.architecture import (
    SHAPES,
    StudentArchitecture,
    TeacherFacts,
    architecture_of,
    canonical_shape,
    count_parameters,
    default_num_heads,
    parse_shape,
)
from trainables.models.families.bert import BertFacts


@pytest.mark.parametrize(
    ("family", "student", "vocab", "positions", "types", "millions"),
    [
        ("bert", StudentArchitecture(6, 384, 12, 1536), 30522, 512, 2, 22.565),
        ("distilbert", StudentArchitecture(6, 768, 12, 3072), 30522, 512, 0, 66.363),
        ("xlm-roberta", StudentArchitecture(12, 768, 12, 3072), 250002, 512, 1, 277.453),
    ],
)
def test_published_sizes_without_pooler(family, student, vocab, positions, types, millions):
    offset = 2 if family == "xlm-roberta" else 0
    facts = TeacherFacts("t", BertFacts(family, offset), student, vocab, positions, types, True, "0")
    assert count_parameters(student, facts) == pytest.approx(millions * 1e6, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12x384", (12, 384, 12, 1536)),
        ("6x768", (6, 768, 12, 3072)),
        ("4x576/768", (4, 576, 12, 768)),
        ("4x312", (4, 312, 12, 1200)),
        ("2x128", (2, 128, 2, 512)),
        ("4x312/1248", (4, 312, 12, 1248)),  # the named shape, but for the width of its feed-forward block
        ("5x320", (5, 320, 5, 1280)),  # heads of 64
        ("5x160", (5, 160, 5, 640)),  # heads of 32
        ("5x300", (5, 300, 5, 1200)),  # heads of 60, the divisor nearest to 64
        ("5x320h10", (5, 320, 10, 1280)),
        (" 5X320/100H4 ", (5, 320, 4, 100)),
    ],
)
def test_parse_shape(text, expected):
    assert parse_shape(text) == StudentArchitecture(*expected)


def test_heads_that_are_left_out_are_of_the_teachers_size():
    assert parse_shape("3x144", 16).num_heads == 9 and parse_shape("3x384", 64).num_heads == 6
    assert parse_shape("3x144h2", 16).num_heads == 2 and parse_shape("4x312", 64) == SHAPES["4x312"]
    spelt = {" 3X192H12": "3x192h12", "3x192": "3x192", "3x192h6": "3x192h6", "4x256/1024": "4x256"}
    assert {text: canonical_shape(text) for text in spelt} == spelt


def test_every_shape_has_a_name_that_reads_back():
    for name, shape in SHAPES.items():
        assert shape.name == name and shape.problems() == []
    for layers in (1, 3, 4):
        for width in (60, 192, 312, 384, 576):
            for heads in (1, 3, 6, 12):
                for wide in (100, 768, 4 * width):
                    shape = StudentArchitecture(layers, width, heads, wide)
                    other = dataclasses.replace(shape, family="modernbert")
                    assert other.name == f"{shape.name} modernbert" and parse_shape(other.name) == other
                    assert parse_shape(shape.name) == shape


def test_default_heads_always_divide_the_width():
    for width in range(1, 400):
        assert width % default_num_heads(width) == 0


@pytest.mark.parametrize("text", ["", "4", "4x", "4x256x2", "x256", "4x256/", "0x64", "4x0", "4x256h7", "-1x64"])
def test_unreadable_or_impossible_shapes_are_refused(text):
    with pytest.raises(SpecError, match="shape"):
        parse_shape(text)


def test_problems_name_the_nearest_legal_head_count():
    assert StudentArchitecture(3, 192, 7, 768).problems() == [
        "num_heads must divide hidden_size, got 7 heads for width 192; nearest legal: 6"
    ]
    assert len(StudentArchitecture(0, 192, -1, 768).problems()) == 2


def test_architecture_of_reads_a_configuration():
    config = {"num_layers": 3, "hidden_size": 192, "num_heads": 12, "intermediate_size": 768, "method": "mha"}
    assert architecture_of(config) == SHAPES["3x192"]
