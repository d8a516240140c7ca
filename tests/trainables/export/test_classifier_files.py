"""Classifiers as files of ONNX Runtime: their classes in torch and in the file, scored, handed over, and run alone."""

import json
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_tasks import write

from spaces.records.deploy import DeploySpec
from trainables.export.artefact import as_deployed, write_artefact
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.export.graphs import export_onnx
from trainables.models.embedding import embedder_of
from trainables.models.encoder import classes_of
from trainables.models.pair_scores import logits_of
from trainables.models.student import build_student
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import open_corpus
from trainables.text.ragged import ragged

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.xdist_group("onnx")  # the first export of a process loads the exporter

SHAPE = {"num_layers": 2, "hidden_size": 32, "num_heads": 4, "intermediate_size": 64}
CONFIG = {"method": "untrained", "initialisation": "projected_layers", **SHAPE}


@pytest.fixture(scope="module")
def student_of(teachers, own_corpus):
    """family -> (a student of a classifier of three classes, its teacher, its corpus)."""

    def build(family):
        teacher = teachers(family, labels=3)
        corpus = open_corpus(own_corpus(teacher))
        return build_student(CONFIG, teacher, 0, corpus), teacher, corpus

    return build


def encoded(teacher, texts, longest=16):
    rows = (teacher.tokenizer(text, truncation=True, max_length=longest) for text in texts)
    return ragged([row["input_ids"] for row in rows], np.int32)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_file_gives_the_classes_of_torch(family, student_of, texts, tmp_path):
    student, teacher, corpus = student_of(family)
    pad, some = teacher.tokenizer.pad_token_id or 0, encoded(teacher, texts(12))
    for seed in (1, 2):  # the second fills the graph that the first has traced
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in student.parameters():
                weight += 0.05 * torch.randn_like(weight)
        file = export_onnx(student, tmp_path / f"{seed}.onnx")
        outputs = onnxruntime.InferenceSession(str(file)).get_outputs()
        assert [each.name for each in outputs] == ["last_hidden_state", "sentence_embedding", "logits"]
        encoder = as_deployed(student, DeploySpec("onnx", "fp32"), corpus)
        assert classes_of(encoder) == classes_of(student) == ("LABEL_0", "LABEL_1", "LABEL_2")
        expected = logits_of(student, some, pad)
        np.testing.assert_allclose(logits_of(encoder, some, pad), expected, atol=1e-4)
        assert np.ptp(expected) > 1e-3


def test_a_search_scores_the_file_and_hands_it_over(student_of, texts, tmp_path):
    student, teacher, corpus = student_of("bert")
    some = texts(60)
    found = logits_of(student, encoded(teacher, some), teacher.tokenizer.pad_token_id)
    with torch.no_grad():
        student.classifier.bias -= torch.from_numpy(found.mean(0))
    labels = [str(place) for place in (found - found.mean(0)).argmax(1)]
    parts = {"train": slice(30, None), "dev": slice(30)}
    columns = {name: {"text": some[part], "label": labels[part]} for name, part in parts.items()}
    spec = TaskSpec("moods", str(write(tmp_path / "task", **columns)), "classification", max_length=16)
    task = load_task(prepare_task(spec, teacher.tokenizer, tmp_path, embedder=embedder_of(student)))
    deploy = DeploySpec("onnx", "int8", 0.1)
    score = score_task(as_deployed(student, deploy, corpus), task, EvaluationSpec("classifier"), ["dev"], 0)["dev"]
    assert score.score > 0.9 and score.protocol == "classifier"
    said = []

    def add(folder):
        return write_artefact(student, teacher.tokenizer, folder, deploy, corpus, said.append)

    folder = export_student(student, teacher.tokenizer, tmp_path / "out", StudentFacts(), add=add)
    facts = json.loads((folder / "recipe.json").read_text())["artefact"]
    assert facts["same_class"] > 0.9 and "of them of the same class" in said[1]
    assert "of them are of the same class to both" in (folder / "README.md").read_text()
    whole, encoder = encoded(teacher, some[:4], 40), as_deployed(student, deploy, corpus)
    scores = runpy.run_path(str(folder / "onnx_example.py"))["score"](some[:4])
    np.testing.assert_allclose(scores, logits_of(encoder, whole, teacher.tokenizer.pad_token_id), atol=1e-4)
    run = subprocess.run([sys.executable, "-I", folder / "onnx_example.py", *some[:4]], capture_output=True, text=True)
    assert run.stdout.splitlines() == [f"LABEL_{row.argmax()} {text}" for row, text in zip(scores, some, strict=False)]
