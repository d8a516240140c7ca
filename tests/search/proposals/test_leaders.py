"""Which students are worth more seeds: the front, and what noise may have kept from it."""

from dataclasses import replace

import pytest
import toy

from search.proposals.leaders import leading, noise_of
from spaces.records.objectives import aim_of

POINTS = [(0.5, 10), (0.501, 14), (0.9, 30), (0.4, 40), (0.88, 31)]


@pytest.fixture
def rows():
    return [
        toy.row(trial=t, method=f"method {t}", num_layers=2, hidden_size=96, quality=q, parameters=p)
        for t, (q, p) in enumerate(POINTS)
    ]


def test_leaders_hold_up_the_front(rows):
    aim = aim_of(["quality", "parameters"], {})
    assert {leader.row.trial for leader in leading(rows, aim, 2)} == {0, 2}
    assert len(leading(rows, aim, 9)) == 3 and all(leader.on_front for leader in leading(rows, aim, 9))
    assert leading([], aim, 9) == []
    rows[2] = replace(rows[2], kept_tokens=0)  # it is its start, whatever its method
    assert {leader.row.trial for leader in leading(rows, aim, 9)} == {0, 1}


def test_what_lies_within_noise_of_the_front_is_among_them(rows):
    aim = aim_of(["quality", "parameters"], {})
    found = {leader.row.trial: leader for leader in leading(rows, aim, 9, margin=0.05)}
    assert set(found) == {0, 1, 2, 4} and not found[4].on_front
    assert "trial 4" in found[4].words(0.05) and "within noise (0.050)" in found[4].words(0.05)
    assert 4 not in {
        leader.row.trial for leader in leading(rows, aim_of(["quality", "parameters"], {"parameters": 30}), 9, 0.05)
    }


def test_the_noise_is_that_of_the_dev_examples_and_does_not_move_with_seeds():
    meta = toy.meta(*toy.read())
    rows = [toy.row(trial=t, seed=t, quality=0.25, score_toy=0.6, recovered_toy=0.25) for t in range(3)]
    assert noise_of(rows, meta) == 0.0  # the number of examples is not known
    meta = replace(meta, tasks={"toy": replace(meta.tasks["toy"], num_dev=200)})
    expected = meta.tasks["toy"].gap.share_error(0.6)
    assert noise_of(rows, meta) == noise_of(rows[:1], meta) == pytest.approx(expected) and 0.05 < expected < 0.2
