"""Exact search in blocks finds what a whole matrix of scores says."""

import numpy as np
import pytest

from trainables.tasks.protocols import nearest


@pytest.mark.parametrize(("queries", "documents", "depth"), [(1, 1000, 100), (2, 7, 5), (256, 16_384, 100)])
def test_blocks_do_not_matter_and_ties_go_to_the_first(monkeypatch, queries, documents, depth):
    """Whole numbers, so that sums are exact in every order and many scores are equal."""
    rng = np.random.default_rng(0)
    queries_QD, documents_ND = (rng.integers(-2, 3, (count, 6)).astype(np.float32) for count in (7, 60))
    monkeypatch.setattr(nearest, "QUERIES", queries)
    monkeypatch.setattr(nearest, "DOCUMENTS", documents)
    found = nearest.nearest_documents(queries_QD, documents_ND, depth)
    scores = queries_QD @ documents_ND.T
    expected = [sorted(range(60), key=lambda d, row=row: (-scores[row, d], d))[:depth] for row in range(7)]
    assert found.tolist() == expected
