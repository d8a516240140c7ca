"""Lengths that stand for the texts of tasks."""

from types import SimpleNamespace

import numpy as np

from trainables.tasks.data import Split
from trainables.tasks.lengths import typical_lengths
from trainables.text.ragged import ragged


def task(meta=None, **lengths):
    views = {name: ragged([np.ones(each, np.int64) for each in values], np.int64) for name, values in lengths.items()}
    return SimpleNamespace(splits={"dev": Split(views, next(iter(views.values())))}, meta=meta or {})


def test_each_task_counts_the_same_and_both_texts_of_a_pair_do():
    short = task(text=[4] * 900)
    pairs = task(text=[10] * 20, text2=[30] * 20, words=[1] * 20)
    found = typical_lengths([short, pairs], 16)
    assert sorted(found) == [4] * 8 + [10] * 4 + [30] * 4
    assert found == typical_lengths([short, pairs], 16) and list(found) != sorted(found)


def test_a_sample_has_the_tail_of_the_distribution():
    found = typical_lengths([task(text=range(1, 101))], 20)
    assert sorted(found) == list(range(3, 100, 5))


def test_of_a_task_for_a_model_that_scores_pairs_the_pairs_count():
    found = typical_lengths([task({"pairs": True}, text=[10] * 5, text2=[30] * 5, pair=[39] * 5)], 4)
    assert list(found) == [39] * 4
