"""Metrics of rankings against slow formulas, and against scikit-learn where it has them."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from trainables.tasks.metrics import v_measure
from trainables.tasks.ranking import (
    JUDGED,
    average_precision,
    mean_average_precision,
    mrr_at_10,
    ndcg_at_10,
    no_two_classes,
    recall_at_100,
    reranked_ndcg_at_10,
)
from trainables.text.ragged import ragged


def searches(rng, queries=20, documents=300):
    """(judgements, rankings): grades 0 to 3, of which 0 means beside the point; at least one above 0."""
    judged = [
        [(int(d), float(g)) for d, g in zip(rng.choice(documents, 8, replace=False), [1, *rng.integers(0, 4, 7)])]  # noqa: B905
        for _ in range(queries)
    ]
    return judged, np.array([rng.permutation(documents)[:100] for _ in range(queries)])


def test_rankings_against_the_formulas():
    judged, ranked = searches(np.random.default_rng(0))
    gains, recalls, ranks = [], [], []
    for rows, documents in zip(judged, ranked, strict=True):
        grade = dict(rows)
        found = sum(grade.get(d, 0) / math.log2(rank + 1) for rank, d in enumerate(documents[:10], 1))
        best = sorted(grade.values(), reverse=True)[:10]
        gains.append(found / sum(g / math.log2(rank + 1) for rank, g in enumerate(best, 1)))
        relevant = {d for d, g in rows if g > 0}
        recalls.append(len(relevant & set(documents.tolist())) / len(relevant))
        first = [rank for rank, d in enumerate(documents[:10], 1) if d in relevant]
        ranks.append(1 / first[0] if first else 0)
    labels = ragged(judged, JUDGED)
    assert ndcg_at_10(labels, ranked, ()) == pytest.approx(np.mean(gains))
    assert recall_at_100(labels, ranked, ()) == pytest.approx(np.mean(recalls)) and 0 < np.mean(recalls) < 1
    assert mrr_at_10(labels, ranked, ()) == pytest.approx(np.mean(ranks))


@pytest.mark.parametrize("levels", [1000, 4, 1])
def test_average_precision_is_that_of_scikit_learn_with_ties_as_well(levels):
    rng = np.random.default_rng(levels)
    for _ in range(20):
        relevant, scores = rng.integers(0, 2, 30), rng.integers(0, levels, 30).astype(np.float32)
        relevant[0] = 1
        assert average_precision(relevant == 1, scores) == pytest.approx(average_precision_score(relevant, scores))
    assert average_precision(np.zeros(3, dtype=bool), np.arange(3.0)) == 0.0
    # 1, 0, 1, 1 from the top: precisions 1, 2/3 and 3/4 at the relevant ranks.
    assert average_precision(np.array([1, 1, 0, 1]) == 1, np.array([1.0, 4.0, 3.0, 2.0])) == pytest.approx(29 / 36)


def test_map_is_the_mean_over_queries_whatever_their_number_of_candidates():
    labels = ragged([[(0, 1.0), (1, 0.0)], [(2, 0.0), (3, 0.0), (4, 1.0)]], JUDGED)
    assert mean_average_precision(labels, np.array([0.2, 0.9, 0.1, 0.2, 0.3]), ()) == pytest.approx((1 / 2 + 1) / 2)


@pytest.mark.parametrize("levels", [1000, 3])
def test_ndcg_of_candidates_is_that_of_scikit_learn_with_ties_as_well(levels):
    rng = np.random.default_rng(levels)
    sizes = [4, 10, 25]
    grades = [[1.0, *rng.integers(0, 4, size - 1).astype(float)] for size in sizes]
    scores = [rng.integers(0, levels, size).astype(np.float32) for size in sizes]
    labels = ragged([list(enumerate(each)) for each in grades], JUDGED)
    expected = [ndcg_score([g], [s], k=10) for g, s in zip(grades, scores, strict=True)]
    assert reranked_ndcg_at_10(labels, np.concatenate(scores), ()) == pytest.approx(np.mean(expected))


def test_v_measure_against_its_formula():
    """From entropies in nats: h = 1 - H(C|K) / H(C), c = 1 - H(K|C) / H(K), and their harmonic mean."""
    rng = np.random.default_rng(0)
    classes, clusters = rng.integers(0, 4, 200), rng.integers(0, 3, 200)
    clusters[classes == 0] = 0
    counts = np.histogram2d(classes, clusters, bins=(4, 3))[0] / 200

    def entropy(shares):
        return -sum(p * math.log(p) for p in shares.flat if p > 0)

    both, of_classes, of_clusters = entropy(counts), entropy(counts.sum(1)), entropy(counts.sum(0))
    homogeneity = 1 - (both - of_clusters) / of_classes
    completeness = 1 - (both - of_classes) / of_clusters
    expected = 2 * homogeneity * completeness / (homogeneity + completeness)
    assert v_measure(classes, clusters) == pytest.approx(expected) and 0.1 < expected < 0.9


def test_pairs_of_more_than_two_classes_have_no_average_precision():
    assert no_two_classes(("no", "yes")) is None
    assert no_two_classes(("a", "b", "c")) == "needs two classes; there are 3"
