"""What a spec may ask of students that have a tokenizer of their own."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from search.spec.checks import check_all
from spaces.errors import SpecError
from spaces.students.architecture import count_parameters

SPEC = toy.SPEC.replace("[[tasks]]", '[student]\ntokenizer = "owner/words"\n[[tasks]]', 1)
SINGLE = SPEC.replace('source = "docs"\n', 'source = "docs"\ntexts = "single"\n', 1)


def facts(path, embedding, tokenizer):
    """The toy's, over half as many words for students where they have a tokenizer."""
    own = toy.facts(path)
    return replace(own, reworded=replace(own, vocab_size=500)) if tokenizer else own


def study_of(text, method):
    table = tomllib.loads(text)
    table["space"] = {"method": method, "shape": ["2x96"]}
    return check_all(table, Path("/nowhere"), "toy.toml", facts)


def test_methods_of_embeddings_have_students_of_their_own_words():
    study = study_of(SINGLE, ["embed", "embed_similarity", "embed + 0.5 embed_similarity"])
    (shape,) = study.space.shapes
    assert study.spec.student.tokenizer == "owner/words"
    assert count_parameters(shape, study.teacher) == count_parameters(shape, toy.facts()) - 500 * 96
    assert count_parameters(shape, study.teacher.itself) == count_parameters(shape, toy.facts())


@pytest.mark.parametrize(
    ("text", "method", "problems"),
    [(SINGLE, ["hs", "mha + embed"], ["'hs' compares hidden, token by token", "'mha' compares qkv, token by token"]),
     (SINGLE, ["mha_direct"], ["'mha_direct' compares qkv"]),
     (SPEC, ["mlm"], ["packed by two tokenizers", "'mlm' reads no text whole"])],
)  # fmt: skip
def test_what_compares_tokens_is_refused_with_the_reason(text, method, problems):
    with pytest.raises(SpecError) as caught:
        study_of(text, method)
    for problem in problems:
        assert any(problem in each and "owner/words" in each for each in caught.value.problems), problem
