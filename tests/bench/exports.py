"""Whether others can load what is exported: students in environments of their own, each with other libraries.

python tests/bench/exports.py FOLDER            # about ten minutes, most of it pip; needs the package index

FOLDER keeps the environments. Each has its own versions in front of the packages of this Python (torch is not fetched
again), but for onnxruntime, which gets an environment with nothing else. Two students are written: one with the
teacher's own tokenizer, one whose vocabulary was trimmed; each is loaded and compared with what it gave here.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.export.graphs import export_onnx
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.models.vocabulary import trim
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.docstrings import docs_texts
from trainables.text.sources import CorpusSpec

TEACHER = "package:trainables/embedded_teacher"
TEXTS = ["A student is tested on what it was taught.", "Capitals, ACCENTS like é and 3.14.", "word " * 3000]
"""The last is longer than any position: the tokenizer must cut it."""
CONFIG = {
    "method": "hs", "initialisation": "projected_layers", "num_layers": 2, "hidden_size": 96, "num_heads": 6,
    "intermediate_size": 384,
}  # fmt: skip
TRANSFORMERS = """
import json, sys, numpy as np, torch, transformers
from transformers import AutoModel, AutoTokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    states = model(**batch).last_hidden_state
told, versions = type(tokenizer).__name__, {"transformers": transformers.__version__}
ids, states = batch["input_ids"].numpy(), states.numpy()
"""
SENTENCES = """
import json, sys, numpy as np, torch, transformers, sentence_transformers
from sentence_transformers import SentenceTransformer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
model = SentenceTransformer(folder, device="cpu")
batch = model.tokenize(texts) if hasattr(model, "tokenize") else model.preprocess(texts)
with torch.no_grad():
    states = model[0](dict(batch))["token_embeddings"]
told = f"max_seq_length {model.max_seq_length}"
versions = {"sentence-transformers": sentence_transformers.__version__, "transformers": transformers.__version__}
ids, states = batch["input_ids"].numpy(), states.numpy()
"""
ONNX = """
import json, sys, numpy as np, onnxruntime
from tokenizers import Tokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
limit = json.load(open(f"{folder}/tokenizer_config.json"))["model_max_length"]
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
tokenizer.enable_truncation(limit)
tokenizer.enable_padding()
found = tokenizer.encode_batch(texts)
ids = np.array([each.ids for each in found])
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
feeds = {"input_ids": ids, "attention_mask": np.array([each.attention_mask for each in found])}
feeds |= {each.name: np.zeros_like(ids) for each in session.get_inputs() if each.name not in feeds}
states = session.run(["last_hidden_state"], feeds)[0]
told, versions = "tokenizers alone", {"onnxruntime": onnxruntime.__version__}
"""
OPTIMUM = """
import importlib.metadata, json, sys, numpy as np, transformers
from optimum.onnxruntime import ORTModelForFeatureExtraction
from transformers import AutoTokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = ORTModelForFeatureExtraction.from_pretrained(folder, file_name="model.onnx")
batch = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
states, ids = model(**batch).last_hidden_state, batch["input_ids"]
told = "ORTModelForFeatureExtraction"
versions = {"optimum-onnx": importlib.metadata.version("optimum-onnx"), "transformers": transformers.__version__}
"""
COMPARE = """
own = np.load(f"{folder}/../{sys.argv[3]}.npz")
same = ids.shape == own["ids"].shape and bool((ids == own["ids"]).all())
gap = float(np.abs(states - own["states"])[own["mask"] > 0].max()) if same else None
print("RESULT " + json.dumps({"told": told, "versions": versions, "same_ids": same, "gap": gap}))
"""


@dataclass(frozen=True)
class Environment:
    """What is installed, and the code that loads a folder there."""

    wanted: tuple[str, ...]
    code: str
    alone: bool = False
    """Without the packages of this Python."""


FOUR = (
    "transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.0", "datasets==4.4.1", "httpx==0.28.1",
    "httpcore==1.0.9", "h11==0.16.0",
)  # fmt: skip
"""Newer datasets need the hub's library of transformers 5."""
ENVIRONMENTS = {
    "transformers 4": Environment(FOUR, TRANSFORMERS),
    "transformers 5": Environment(("transformers==5.24.0",), TRANSFORMERS),
    "sentence-transformers 5": Environment(("sentence-transformers==5.7.0", *FOUR), SENTENCES),
    "sentence-transformers 6": Environment(("sentence-transformers==6.2.0",), SENTENCES),
    "onnxruntime alone": Environment(("onnxruntime", "tokenizers", "numpy"), ONNX, alone=True),
    "optimum": Environment(("optimum==2.1.0", "optimum-onnx==0.1.0", *FOUR), OPTIMUM),
}


def python_of(name: str, environment: Environment, folder: Path) -> tuple[str, dict[str, str]]:
    """The interpreter and the variables of an environment, which is made where it is not there."""
    place = folder / "environments" / name.replace(" ", "-")
    if environment.alone:
        python = str(place / "bin/python")
        if not place.is_dir():
            venv.create(place, with_pip=True)
            pip(python, list(environment.wanted))
        return python, {}
    if not place.is_dir():
        pip(sys.executable, ["--no-deps", "--target", str(place), *environment.wanted])
    return sys.executable, {"PYTHONPATH": str(place)}


def pip(python: str, arguments: list[str]) -> None:
    """Install."""
    subprocess.run([python, "-m", "pip", "install", "-q", *arguments], check=True)


def write_students(folder: Path) -> list[str]:
    """Two exported students and what they give here."""
    texts = docs_texts("train", print)[:3000]
    teacher = load_teacher(TEACHER)
    if not (folder / "trimmed").is_dir():
        trim(teacher.model, teacher.tokenizer, texts, 3000, folder / "trimmed")
    for name, path in {"own-tokenizer": TEACHER, "trimmed-tokenizer": str(folder / "trimmed")}.items():
        teacher = load_teacher(path)
        corpus = open_corpus(prepare_corpus(CorpusSpec("docs", 64, max_tokens=50_000), teacher.tokenizer))
        student = build_student(CONFIG, teacher, 0, corpus)
        written = export_student(student, teacher.tokenizer, folder / name, StudentFacts(name))
        export_onnx(student, written / "model.onnx")
        batch = teacher.tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            states = student.base_model(**batch).last_hidden_state
        mask = batch["attention_mask"].numpy()
        np.savez(folder / f"{name}.npz", ids=batch["input_ids"].numpy(), states=states.numpy(), mask=mask)
    return ["own-tokenizer", "trimmed-tokenizer"]


def try_to_load(name: str, environment: Environment, student: str, folder: Path) -> str:
    """A row of the table."""
    python, variables = python_of(name, environment, folder)
    run = subprocess.run(
        [python, "-c", environment.code + COMPARE, str(folder / student), json.dumps(TEXTS), student],
        env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", **variables}, capture_output=True, text=True,
    )  # fmt: skip
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    if run.returncode or not lines:
        return f"| {name} | {student} | no: {(run.stderr.strip().splitlines() or ['nothing said'])[-1][:150]} | | |"
    found = json.loads(lines[-1].removeprefix("RESULT "))
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    gap = "-" if found["gap"] is None else f"{found['gap']:.1g}"
    return f"| {versions} | {student} | {found['told']} | {'yes' if found['same_ids'] else 'NO'} | {gap} |"


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=ENVIRONMENTS, default=list(ENVIRONMENTS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    students = write_students(options.folder.resolve())
    print("| loaded by | student | as | same ids | largest difference |\n| --- | --- | --- | --- | --- |")
    for name in options.only:
        for student in students:
            print(try_to_load(name, ENVIRONMENTS[name], student, options.folder.resolve()), flush=True)


if __name__ == "__main__":
    main()
