"""Cross-encoders: of every family that has them, in the folders of all versions of sentence-transformers."""

import inspect
import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tiny_families import MARKS
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from spaces.errors import SpecError, StillhouseError
from spaces.space.axes import METHOD
from spaces.students.architecture import StudentArchitecture
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student, verify_with_library
from trainables.models.embedding import embedder_of, embedding_line
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.encoder import scores_pairs, scoring_head
from trainables.models.families import FAMILIES
from trainables.models.pair_scores import score_pairs
from trainables.models.signals import read_signals, scored
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher, read_facts
from trainables.models.vocabulary import with_words
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec

SCORING = [name for name in FAMILIES if FAMILIES[name].scoring is not None]
SHAPE = (4, 32, 4, 64)
IDENTITY = "torch.nn.modules.linear.Identity"


def pairs_of(texts):
    """Of several lengths, one longer than the model reads."""
    first, second, third, fourth = texts(4)
    return [(first, second), (third, " ".join([fourth] * 20)), (second, first), (fourth, fourth)]


def as_transformers_has_it(folder, pairs, length):
    """One pair after the other, with all that the tokenizer gives."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        rows = (tokenizer(*pair, truncation=True, max_length=length, return_tensors="pt") for pair in pairs)
        takes = inspect.signature(type(model).forward).parameters
        return [float(model(**{name: row[name] for name in row if name in takes}).logits) for row in rows]


@pytest.mark.parametrize("family", SCORING)
def test_scores_are_those_of_transformers(family, write_teacher, texts):
    folder, pairs = write_teacher(family, labels=1), pairs_of(texts)
    teacher = load_teacher(str(folder))
    assert teacher.facts.scores_pairs and scores_pairs(teacher.model) and read_facts(str(folder)) == teacher.facts
    length = embedder_of(teacher.model).max_length
    expected = as_transformers_has_it(folder, pairs, length)
    np.testing.assert_allclose(score_pairs(teacher.model, teacher.tokenizer, pairs), expected, atol=1e-5)
    batch = teacher.tokenizer(*map(list, zip(*pairs, strict=True)), truncation=True, max_length=length, padding=True,
                              return_tensors="pt")  # fmt: skip
    wanted = (scored(teacher.facts.embedding.pooling), 4)
    found = read_signals(teacher.model, [wanted], batch["input_ids"], batch["attention_mask"])[wanted]
    np.testing.assert_allclose(found.detach(), expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3
    assert embedder_of(teacher.model).marks_second == (family in MARKS)


def pair_corpus(folder, teacher, texts):
    """Pairs of training text."""
    some = texts(400)
    rows = [json.dumps({"query": a, "text": b}) for a, b in zip(some[::2], some[1::2], strict=True)]
    (folder / "pairs.jsonl").write_text("\n".join(rows))
    spec = CorpusSpec(str(folder / "pairs.jsonl"), sequence_length=24, texts="pairs")
    return open_corpus(prepare_corpus(spec, teacher.tokenizer))


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2"])
def test_a_student_starts_with_the_head(family, write_teacher, texts, tmp_path):
    teacher = load_teacher(str(write_teacher(family, labels=1)))
    corpus, pairs = pair_corpus(tmp_path, teacher, texts), pairs_of(texts)
    start = {"method": "untrained", "initialisation": "projected_layers"}
    theirs = score_pairs(teacher.model, teacher.tokenizer, pairs)
    whole = build_student({**start, **vars(StudentArchitecture(*SHAPE))}, teacher, 0, corpus)
    np.testing.assert_allclose(score_pairs(whole, teacher.tokenizer, pairs), theirs, atol=1e-5)
    narrow = build_student({**start, **vars(StudentArchitecture(2, 16, 2, 32))}, teacher, 0, corpus)
    own, head = scoring_head(narrow), scoring_head(teacher.model)
    assert own.dense.weight.shape == (16, 16) and own.out.weight.shape == (1, 16)
    assert set(own.out.weight[0].tolist()) <= set(head.out.weight[0].tolist())
    folder = export_student(narrow, teacher.tokenizer, tmp_path / "student", StudentFacts())
    again = load_teacher(str(folder))
    scores = score_pairs(narrow, teacher.tokenizer, pairs)
    np.testing.assert_array_equal(score_pairs(again.model, again.tokenizer, pairs), scores)
    assert not (folder / "modules.json").exists() and "CrossEncoder" in (folder / "README.md").read_text()


def as_written_by(version, folder, target):
    """The folder of a CrossEncoder that applies no activation, as versions 3, 5 and 6 of the library write it."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    if version == 3:
        config["sbert_ce_default_activation_function"] = IDENTITY
    elif version == 5:
        config["sentence_transformers"] = {"activation_fn": IDENTITY, "version": "5.1.2"}
    else:
        kind = "sentence_transformers.base.modules.transformer.Transformer"
        about = {"activation_fn": IDENTITY, "model_type": "CrossEncoder", "prompts": {}, "default_prompt_name": None}
        files = {
            "modules.json": [{"idx": 0, "name": "0", "path": "", "type": kind}],
            "config_sentence_transformers.json": about,
            "sentence_bert_config.json": {"transformer_task": "sequence-classification"},
        }
        for name, content in files.items():
            (target / name).write_text(json.dumps(content))
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize("version", [3, 5, 6])
def test_what_is_written_is_a_cross_encoder_of_the_library(version, write_teacher, texts, tmp_path):
    folder = as_written_by(version, write_teacher("bert", labels=1), tmp_path / "in")
    teacher, pairs = load_teacher(str(folder)), pairs_of(texts)
    line = embedding_line(embedder_of(teacher.model))
    assert line == "scores pairs of texts, together up to 40 tokens, by the state cls"
    written = export_student(teacher.model, teacher.tokenizer, tmp_path / "out", StudentFacts("x"))
    verify_with_library(teacher.model, teacher.tokenizer, written)
    if find_spec("sentence_transformers") is not None:
        from sentence_transformers import CrossEncoder

        for each in (folder, written):  # the activation is that of the teacher: none
            theirs = CrossEncoder(str(each), device="cpu").predict(pairs, show_progress_bar=False)
            np.testing.assert_allclose(score_pairs(teacher.model, teacher.tokenizer, pairs), theirs, atol=1e-5)


def test_a_trimmed_cross_encoder_keeps_its_head(write_teacher, texts):
    teacher = load_teacher(str(write_teacher("bert", labels=1)))
    rows = [[i] for i in range(teacher.facts.vocab_size)]
    small = with_words(teacher.model, rows, lm_head=False)
    small.embedder = embedder_of(teacher.model)
    pairs = pairs_of(texts)
    np.testing.assert_array_equal(*(score_pairs(each, teacher.tokenizer, pairs) for each in (small, teacher.model)))


def test_classifiers_of_several_labels_score_no_pairs(write_teacher, tmp_path):
    teacher = load_teacher(str(write_teacher("bert", labels=3)))
    assert not scores_pairs(teacher.model) and not teacher.facts.scores_pairs and teacher.facts.labels == 3
    (rule,) = [rule for rule in METHOD.rules if "scores pairs" in rule.statement]
    problem = rule.objection("score + hs", teacher.facts.architecture, teacher.facts)
    assert "one label (num_labels = 1)" in problem and problem.endswith("its head has 3 labels")
    scorer = load_teacher(str(write_teacher("bert", labels=1)))
    assert rule.objection("score", scorer.facts.architecture, scorer.facts) is None
    assert "makes a masked-LM head" in rule.objection("mlm", scorer.facts.architecture, scorer.facts)


def test_what_asks_for_embeddings_is_refused(write_teacher, tmp_path):
    folder = as_written_by(6, write_teacher("bert", labels=1), tmp_path / "in")
    with pytest.raises(SpecError, match=r"scores pairs and embeds nothing: leave \[embedding\] pooling out"):
        load_teacher(str(folder), EmbeddingSpec(pooling="cls"))
    entry = {"idx": 1, "name": "1", "path": "1_LogitScore", "type": "sentence_transformers.x.LogitScore"}
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, entry]))
    with pytest.raises(SpecError, match=r"modules\.json says Transformer, LogitScore: one Transformer"):
        load_teacher(str(folder))
    teacher = load_teacher(str(write_teacher("bert", labels=1)))
    with pytest.raises(StillhouseError, match="for torch alone"):
        export_student(teacher.model, teacher.tokenizer, tmp_path / "out", StudentFacts(), add=lambda folder: None)
