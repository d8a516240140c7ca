"""When the workers of a cluster cut a corpus, and when the driver does."""

import pytest

from search.phases.cutting import cutters_of, sooner
from trainables.text.shards import alone
from trainables.text.sources import TextSource


@pytest.mark.parametrize(
    ("text_bytes", "max_tokens", "places", "own_cores", "by_workers"),
    [
        (10e9, None, 2, 2, False),  # one node, whose cores the driver's threads use as well
        (10e9, None, 16, 8, True),  # two nodes
        (10e9, None, 16, 16, True),  # one node, on which workers read as well
        (10e6, None, 64, 2, False),  # over before a worker has started
        (10e9, 10**6, 2, 2, False),  # a small sample is reading alone
        (10e9, 10**6, 16, 2, True),
    ],
)
def test_workers_cut_where_they_end_well_before_the_driver(text_bytes, max_tokens, places, own_cores, by_workers):
    assert sooner(text_bytes, max_tokens, places, own_cores) == by_workers


def test_without_a_cluster_nobody_looks_at_the_files(monkeypatch):
    monkeypatch.setattr("search.phases.cutting.ray.is_initialized", lambda: False)  # whatever ran before
    assert cutters_of(print, None, TextSource(list, None, fragments=lambda: 1 / 0)) == alone(TextSource(list, None))
