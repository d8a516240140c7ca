"""Classifiers of several classes: read with their heads, handed on to students, and learnt from."""

import json
import shutil

import numpy as np
import pytest
import torch
from small_tasks import write
from small_trials import COMMON, EXACT, fill
from transformers import AutoModelForSequenceClassification, pipeline

from spaces.errors import SpecError
from spaces.space.axes import METHOD
from spaces.students.architecture import StudentArchitecture
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.losses.soft_labels import soft_label_loss
from trainables.models.embedding import embed, embedder_of
from trainables.models.encoder import classes_of, outputs_of, scoring_head
from trainables.models.families import FAMILIES
from trainables.models.pair_scores import logits_of
from trainables.models.signals import class_scored, read_signals, states_of
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher, read_facts
from trainables.models.vocabulary import with_words
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import blocks_visited, open_corpus, prepare_corpus
from trainables.text.ragged import ragged
from trainables.text.sources import CorpusSpec
from trainables.training.distillation import Distillation
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun
from trainables.training.targets import Needs, TargetPlan

SCORING = [name for name in FAMILIES if FAMILIES[name].scoring is not None]
LONGEST = 24
CONFIG = COMMON | {"method": "soft_labels", "temperature": 2.0}
START = {"method": "untrained", "initialisation": "projected_layers"}
NAMES = ["calm", "glad", "sad"]


@pytest.fixture
def classifier(teachers):
    return teachers("bert", labels=3)


def encoded(teacher, texts):
    """Token ids of texts."""
    return ragged(
        [teacher.tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"] for text in texts], np.int32
    )


def said(model, teacher, texts):
    return logits_of(model, encoded(teacher, texts), teacher.tokenizer.pad_token_id)


def as_ids(reading):
    """The texts of a batch without padding."""
    rows = zip(reading.inputs_BT, reading.mask_BT, strict=True)
    return ragged([ids[mask.bool()].tolist() for ids, mask in rows], np.int32)


def single_texts(folder, teacher, texts):
    """The prepared folder of a corpus of texts that stand alone."""
    (folder / "train.txt").write_text("\n".join(texts(400)))
    spec = CorpusSpec(str(folder / "train.txt"), sequence_length=LONGEST, texts="single")
    return prepare_corpus(spec, teacher.tokenizer)


@pytest.mark.parametrize("family", SCORING)
def test_classes_are_those_of_transformers(family, write_teacher, texts):
    folder, some = write_teacher(family, labels=3), texts(6)
    teacher = load_teacher(str(folder))
    assert teacher.facts.classifies and read_facts(str(folder)) == teacher.facts and outputs_of(teacher.model) == 3
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = (teacher.tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt") for text in some)
        expected = np.concatenate(
            [plain(row["input_ids"], attention_mask=row["attention_mask"]).logits for row in rows]
        )
    np.testing.assert_allclose(said(teacher.model, teacher, some), expected, atol=1e-5)
    batch = teacher.tokenizer(some, truncation=True, max_length=LONGEST, padding=True, return_tensors="pt")
    wanted = (class_scored((teacher.facts.scored_state,)), 4)
    found = read_signals(teacher.model, [wanted], batch["input_ids"], batch["attention_mask"])[wanted]
    np.testing.assert_allclose(found.detach(), expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_students_have_the_head_and_are_handed_over_with_it(family, teachers, texts, tmp_path):
    teacher = teachers(family, labels=3)
    corpus, some = open_corpus(single_texts(tmp_path, teacher, texts)), texts(5)
    whole = build_student({**START, **vars(StudentArchitecture(4, 32, 4, 64))}, teacher, 0, corpus)
    np.testing.assert_allclose(said(whole, teacher, some), said(teacher.model, teacher, some), atol=1e-5)
    narrow = build_student({**START, **vars(StudentArchitecture(2, 16, 2, 32))}, teacher, 0, corpus)
    own, head = scoring_head(narrow), scoring_head(teacher.model)
    assert own.dense.weight.shape == (16, 16) and own.out.weight.shape == (3, 16)
    theirs = {tuple(column) for column in head.out.weight.T.tolist()}
    assert all(tuple(column) in theirs for column in own.out.weight.T.tolist())
    folder = export_student(narrow, teacher.tokenizer, tmp_path / "student", StudentFacts())
    again = load_teacher(str(folder))
    np.testing.assert_array_equal(said(again.model, again, some), said(narrow, teacher, some))
    np.testing.assert_array_equal(*(embed(each, teacher.tokenizer, some) for each in (narrow, again.model)))
    card = (folder / "README.md").read_text()
    assert 'pipeline("text-classification", model=".")' in card and "text-classification" in card.split("---")[1]
    found = pipeline("text-classification", model=str(folder))(some[0])
    assert found[0]["label"] == classes_of(narrow)[said(narrow, teacher, some[:1]).argmax()]


def test_words_and_masked_lm_heads(classifier, texts):
    rows = [[i] for i in range(classifier.facts.vocab_size)]
    small = with_words(classifier.model, rows, lm_head=False)
    np.testing.assert_array_equal(*(said(each, classifier, texts(5)) for each in (small, classifier.model)))
    assert outputs_of(with_words(classifier.model, rows, lm_head=True)) == 0
    assert outputs_of(build_student(COMMON | {"method": "mlm", "initialisation": "random"}, classifier, 0)) == 0


def changed(folder, target, **config):
    shutil.copytree(folder, target)
    known = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(known | config))
    return target


def test_other_heads_are_left_out(write_teacher, tmp_path):
    folder = write_teacher("bert", labels=3)
    several = load_teacher(str(changed(folder, tmp_path / "several", problem_type="multi_label_classification")))
    assert several.facts.labels == 0 and outputs_of(several.model) == 0
    alone = changed(write_teacher("bert", lm_head=False), tmp_path / "alone", num_labels=3,
                    architectures=["BertForSequenceClassification"])  # fmt: skip
    assert load_teacher(str(alone)).facts.labels == 0


def test_methods_ask_for_a_head_over_classes(teachers, teacher, classifier):
    (rule,) = [rule for rule in METHOD.rules if "scores pairs" in rule.statement]

    def objection(method, of, **student):
        shape = StudentArchitecture(2, 16, 2, 32, **student)
        return rule.objection(method, shape, of.facts)

    assert objection("hs then soft_labels unfreezing", classifier) is None and objection("mlm", classifier) is None
    assert objection("soft_labels", teacher).endswith("it has no such head")
    assert "several labels" in objection("soft_labels", teachers("bert", labels=1))
    assert "makes a masked-LM head" in objection("mlm + soft_labels", classifier)
    assert "students of distilbert lack" in objection("soft_labels", classifier, family="distilbert")


def course(classifier, corpus, **options):
    """(losses, outcome, student) of twelve steps."""
    rows, student = [], build_student(CONFIG, classifier, 0, corpus)
    run = TrainingRun(CONFIG, int(12 * 8 * corpus.tokens_per_row), 0, EXACT)
    outcome = distil(student, classifier, corpus, run, rows.append, **options)
    return [row.loss for row in rows], outcome, student


def test_classes_are_learnt_live_and_from_the_cache(classifier, texts, write_teacher, tmp_path):
    folder = single_texts(tmp_path, classifier, texts)
    corpus = open_corpus(folder)
    student = build_student(CONFIG, classifier, 0, corpus)
    module, rows = Distillation(student, classifier, corpus, CONFIG, EXACT), np.arange(9)
    reading = module.read(corpus, "train", rows, np.zeros_like(rows), EXACT, None)
    read = as_ids(reading)
    ours, theirs = (torch.from_numpy(logits_of(model, read, 0)) for model in (student, classifier.model))
    with torch.no_grad():
        expected = soft_label_loss(ours, theirs, 2.0).item()
        assert module(classifier.model, reading).item() == pytest.approx(expected, rel=1e-4)
    live, outcome, taught = course(classifier, corpus)
    plan = TargetPlan(
        teacher=str(write_teacher("bert", labels=3)), teacher_digest="", corpus=str(folder),
        needs=Needs(states_of(module.teacher_signals)), blocks=tuple(blocks_visited(corpus, 12 * 8, 0).tolist()),
        held_out=len(corpus.held_out), views=1, mask_fraction=0.15, width=32, sequence_length=LONGEST, bf16=False,
    )  # fmt: skip
    cached, again, _ = course(classifier, corpus, targets=fill(plan, classifier))
    assert (outcome.targets, again.targets) == ("live", "cache") and cached == pytest.approx(live, rel=5e-3)
    assert np.mean(live[-3:]) < np.mean(live[:3])
    before, after = (np.abs(said(each, classifier, texts(40)) - said(classifier.model, classifier, texts(40))).mean()
                     for each in (student, taught))  # fmt: skip
    assert after < before


def test_labels_of_the_corpus_are_learnt(classifier, texts, tmp_path):
    some = texts(300)
    rows = [{"text": text, "label": f"LABEL_{2 * ('a' in text.split()[0])}"} for text in some]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spec = CorpusSpec(str(tmp_path / "train.jsonl"), LONGEST, texts="single", label_column="label", max_tokens=3000)
    corpus = open_corpus(prepare_corpus(spec, classifier.tokenizer))
    assert corpus.facts.classes == ("LABEL_0", "LABEL_2") and len(corpus.classes["train"]) == len(corpus.train)
    for split in ("train", "held_out"):
        read = classifier.tokenizer.batch_decode(getattr(corpus, split), skip_special_tokens=True)
        assert corpus.classes[split].tolist() == ["a" in text.split()[0] for text in read]
    config, losses = CONFIG | {"method": "labels"}, []
    student = build_student(config, classifier, 0, corpus)
    module, rows = Distillation(student, classifier, corpus, config, EXACT), np.arange(9)
    reading = module.read(corpus, "train", rows, np.zeros_like(rows), EXACT, None)
    read = as_ids(reading)
    logits, classes = torch.from_numpy(logits_of(student, read, 0)), torch.from_numpy(2 * corpus.classes["train"][rows])
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(logits, classes).item()
        assert module(classifier.model, reading).item() == pytest.approx(expected, rel=1e-4)
    run = TrainingRun(config, int(30 * 8 * corpus.tokens_per_row), 0, EXACT)
    outcome = distil(student, classifier, corpus, run, losses.append)
    assert outcome.targets == "none" and losses[-1].loss < 0.7 * losses[0].loss


@pytest.fixture
def balanced(write_teacher, texts, tmp_path):
    """The folder of a classifier that finds about as many texts of each class."""
    folder = shutil.copytree(write_teacher("bert", labels=3), tmp_path / "balanced")
    teacher = load_teacher(str(folder))
    with torch.no_grad():
        teacher.model.classifier.bias -= torch.from_numpy(said(teacher.model, teacher, texts(60)).mean(0))
    teacher.model.save_pretrained(folder)
    return folder


def task_of(classifier, texts, folder, names):
    """A task whose labels are what the teacher says."""
    some = texts(60)
    labels = [names[place] for place in said(classifier.model, classifier, some).argmax(1)]
    half = {"text": some[:30], "label": labels[:30]}
    spec = TaskSpec(
        "moods", str(write(folder, train={"text": some[30:], "label": labels[30:]}, dev=half)), "classification"
    )
    return load_task(prepare_task(spec, classifier.tokenizer, folder, embedder=embedder_of(classifier.model)))


@pytest.mark.parametrize("names", [["glad", "sad", "calm"], ["Sad", "CALM", "Glad"], ["0", "1", "2"]])
def test_a_classifier_is_scored_by_its_own_head(names, balanced, texts, tmp_path):
    known = {str(i): name for i, name in enumerate(NAMES)}
    if names[0] != "0":
        known = {str(i): name.lower() for i, name in enumerate(names)}
    folder = changed(balanced, tmp_path / "named", id2label=known,
                     label2id={name: int(i) for i, name in known.items()})  # fmt: skip
    classifier = load_teacher(str(folder))
    task = task_of(classifier, texts, tmp_path / "task", names)
    found = score_task(classifier.model, task, EvaluationSpec("classifier"), ["dev"], 0)["dev"]
    assert found.score == 1.0 and found.protocol == "classifier" and found.layer is None
    random = build_student({**COMMON, "method": "untrained", "initialisation": "random"}, classifier, 0)
    assert score_task(random, task, EvaluationSpec("classifier"), ["dev"], 0)["dev"].score < 1.0


def test_classes_that_do_not_match_are_refused(balanced, teacher, texts, tmp_path):
    classifier = load_teacher(str(balanced))
    task = task_of(classifier, texts, tmp_path, NAMES)
    with pytest.raises(SpecError, match=r"'calm', 'glad', 'sad', and the teacher has 'LABEL_0', .*under \"id2label\""):
        score_task(classifier.model, task, EvaluationSpec("classifier"), ["dev"], 0)
    with pytest.raises(SpecError, match="no classification head"):
        score_task(teacher.model, task, EvaluationSpec("classifier"), ["dev"], 0)
