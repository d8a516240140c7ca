"""A file's dev scores beside those of the weights, by the same probe; what cannot be scored is said."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_tasks import WORDS, make_bert, make_tokenizer, write

from search.phases import agreement
from search.phases.agreement import score_both
from trainables.export.card import agreement_text
from trainables.export.facts import ArtefactFacts, BothScores
from trainables.tasks.spec import EvaluationSpec, TaskSpec


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """A student, the spec of its study with a task of words, and what was said."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    rng, parts = np.random.default_rng(0), {}
    for split, count in (("train", 80), ("dev", 60)):
        labels = [n % 2 for n in range(count)]
        texts = [" ".join([WORDS[label], *rng.choice(WORDS[2:], 3)]) for label in labels]
        parts[split] = {"text": texts, "label": labels}
    source = write(tmp_path / "source", **parts)
    tasks = (TaskSpec("words", str(source), "classification"), TaskSpec("absent", str(tmp_path / "no"), "sts"))
    student = SimpleNamespace(model=make_bert(), tokenizer=make_tokenizer(), reworded=False)
    return student, SimpleNamespace(tasks=tasks, evaluation=EvaluationSpec()), []


def test_both_are_read_by_what_was_fitted_on_the_file(setting, monkeypatch):
    student, spec, said = setting
    other = make_bert()
    with torch.no_grad():
        for weight in other.parameters():
            weight += 0.05 * torch.randn_like(weight)
    for encoder, same in ((student.model, True), (other, False)):
        monkeypatch.setattr(agreement, "open_encoder", lambda *rest, encoder=encoder: encoder)
        found = score_both(student, "onnx", None, spec, 0, said.append)
        assert list(found) == ["words"] and found["words"].file > 0.8
        assert (found["words"].weights == found["words"].file) == same
    assert said[0].startswith("task words: accuracy ") and said[0].endswith(" of the weights in torch")
    assert said[1].startswith("task absent: not scored by the file: ")


@pytest.mark.parametrize(
    "evaluation, why",
    [
        (EvaluationSpec(protocol="finetune"), "fine-tuned in torch"),
        (EvaluationSpec(documents="teacher"), "the teacher embeds its documents"),
    ],
)
def test_what_has_no_score_of_a_file_is_said(setting, monkeypatch, evaluation, why):
    student, spec, said = setting
    monkeypatch.setattr(agreement, "open_encoder", lambda *rest: None)
    spec.tasks, spec.evaluation = spec.tasks[:1], evaluation
    assert not score_both(student, "onnx", None, spec, 0, said.append) and why in said[0]


def test_the_card_tells_both():
    facts = ArtefactFacts("onnx/model.onnx", "fp16", 20, 4.0, 2, 2, 30, 1.0, 1.0, 0.0)
    assert agreement_text(facts) == ""
    scored = ArtefactFacts(**vars(facts) | {"scores": {"words": BothScores("accuracy", 0.91, 0.905)}})
    *_, row = agreement_text(scored).splitlines()
    assert [each.strip() for each in row.strip("|").split("|")] == ["words", "accuracy", "0.91", "0.905"]
