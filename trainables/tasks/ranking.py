"""Metrics of rankings: how high relevant documents stand, and how well scores tell two classes apart.

Labels of a query are the documents that were judged for it, JUDGED: their places among all documents and their grades;
a document is relevant if its grade is above 0. Numbers are those of trec_eval, which pytrec_eval and mteb use.

Shapes: Q queries, K ranked documents of each, N scores.
"""

from collections.abc import Sequence

import numpy as np

from trainables.tasks.metrics import Metric
from trainables.text.ragged import Ragged

JUDGED = np.dtype([("document", np.int32), ("grade", np.float32)])


def average_precision(relevant_N: np.ndarray, scores_N: np.ndarray) -> float:
    """Sum over ranks of the gain in recall times the precision there; equal scores are one step; 0 if none is relevant.

    Manning, Raghavan & Schuetze 2008, section 8.4; ties as in scikit-learn's average_precision_score.
    """
    order = np.argsort(-scores_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores_N[order])), len(order) - 1)
    found = np.cumsum(relevant_N[order])[ends]
    if not found[-1]:
        return 0.0
    gained = np.diff(found, prepend=0) / found[-1]
    return float(np.sum(gained * found / (ends + 1)))


def pair_precision(labels: Ragged, scores_N: np.ndarray, names: Sequence[str]) -> float:
    """Average precision of finding the pairs of the second of two classes."""
    return average_precision(np.asarray(labels.values) == 1, scores_N)


def no_two_classes(names: Sequence[str]) -> str | None:
    """Why these classes have no average precision."""
    return None if len(names) == 2 else f"needs two classes; there are {len(names)}"


def mean_average_precision(labels: Ragged, scores_N: np.ndarray, names: Sequence[str]) -> float:
    """Mean over queries of the average precision of their candidates; one score for each label."""
    found = [
        average_precision(judged["grade"] > 0, scores)
        for judged, scores in zip(labels, Ragged(scores_N, labels.offsets), strict=True)
    ]
    return float(np.mean(found))


def gains(judged: np.ndarray, ranked_K: np.ndarray) -> np.ndarray:
    """The grade of each ranked document, K; 0 where it was not judged, or judged to be beside the point."""
    grade = dict(zip(judged["document"].tolist(), judged["grade"].tolist(), strict=True))
    return np.array([max(0.0, grade.get(document, 0.0)) for document in ranked_K.tolist()])


def discounted(gains_K: np.ndarray) -> float:
    """Sum over ranks r = 1, 2, ... of gain / log2(r + 1)."""
    return float(np.sum(gains_K / np.log2(np.arange(2, len(gains_K) + 2))))


def ndcg_at_10(labels: Ragged, ranked_QK: np.ndarray, names: Sequence[str]) -> float:
    """Mean over queries of the discounted gain of the first ten, over that of the best possible ten.

    Jarvelin & Kekalainen 2002; gains are the grades themselves, as in trec_eval.
    """
    found = []
    for judged, ranked_K in zip(labels, ranked_QK, strict=True):
        ideal = discounted(np.sort(np.maximum(judged["grade"], 0.0).astype(np.float64))[::-1][:10])
        found.append(discounted(gains(judged, ranked_K[:10])) / ideal)
    return float(np.mean(found))


def reranked_ndcg_at_10(labels: Ragged, scores_N: np.ndarray, names: Sequence[str]) -> float:
    """`ndcg_at_10` of the candidates of each query, one score for each label; equal scores share their ranks' gains.

    McSherry & Najork 2008, as in scikit-learn's ndcg_score.
    """
    found = []
    for judged, scores in zip(labels, Ragged(scores_N, labels.offsets), strict=True):
        grades = np.maximum(judged["grade"], 0.0).astype(np.float64)
        _, places, counts = np.unique(-scores, return_inverse=True, return_counts=True)
        shared = np.bincount(places, weights=grades) / counts
        found.append(discounted(np.repeat(shared, counts)[:10]) / discounted(np.sort(grades)[::-1][:10]))
    return float(np.mean(found))


def recall_at_100(labels: Ragged, ranked_QK: np.ndarray, names: Sequence[str]) -> float:
    """Mean over queries of the share of relevant documents among the first hundred."""
    found = [
        np.count_nonzero(gains(judged, ranked_K[:100])) / np.count_nonzero(judged["grade"] > 0)
        for judged, ranked_K in zip(labels, ranked_QK, strict=True)
    ]
    return float(np.mean(found))


def mrr_at_10(labels: Ragged, ranked_QK: np.ndarray, names: Sequence[str]) -> float:
    """Mean over queries of one over the rank of the first relevant document; 0 if it is not among the first ten."""
    found = []
    for judged, ranked_K in zip(labels, ranked_QK, strict=True):
        hits = np.flatnonzero(gains(judged, ranked_K[:10]))
        found.append(1.0 / (hits[0] + 1) if len(hits) else 0.0)
    return float(np.mean(found))


OF_PAIRS = (Metric("average_precision", pair_precision, misfit=no_two_classes),)
OF_CANDIDATES = (Metric("map", mean_average_precision), Metric("ndcg_at_10", reranked_ndcg_at_10))
OF_SEARCHES = (Metric("ndcg_at_10", ndcg_at_10), Metric("recall_at_100", recall_at_100), Metric("mrr_at_10", mrr_at_10))
DEPTH = 100
"""Ranks that these metrics look at, at most."""
