"""What is remembered of a long history does not depend on how it came in."""

import json
from dataclasses import replace

import numpy as np
import optuna
import pytest
import toy

from search.proposals.observations import MOST_REMEMBERED, Memory
from search.store.history import History
from search.store.parts import Store
from spaces.records.fronts import costs_of_rows, non_dominated
from spaces.records.objectives import aim_of
from spaces.space.search_space import config_hash

AIM = aim_of(["quality", "parameters"], {})


def row_of(trial, rng):
    quality, parameters = float(rng.integers(0, 40)) / 40, int(rng.integers(1, 9))
    return toy.row(trial=trial, config_hash=f"{trial:016d}", quality=quality, parameters=parameters)


def memory_of(history):
    return Memory(history, toy.searched(train_tokens=1000))


@pytest.mark.parametrize("seed", range(4))
def test_the_front_that_grew_is_the_front_of_all(seed, tmp_path):
    rng = np.random.default_rng(seed)
    history = History(Store(tmp_path, ["toy"]))
    memory = memory_of(history)
    rows = [row_of(trial, rng) for trial in range(MOST_REMEMBERED + 60)]
    for number in rng.permutation(len(rows)):
        history.remember(rows[number])
        memory.add(rows[number])
    assert [row.trial for row in history.finished] == list(range(len(rows)))
    expected = np.flatnonzero(non_dominated(costs_of_rows(rows, AIM.objectives)))
    assert memory.front_MK.tolist() == costs_of_rows([rows[i] for i in expected], AIM.objectives).tolist()
    again = memory_of(history)
    assert again.front_MK.tolist() == memory.front_MK.tolist()
    remembered = [row.trial for row in memory.rows()]
    assert remembered == [row.trial for row in again.rows()] == sorted(remembered)
    assert set(expected.tolist()) <= set(remembered) and len(rows) - 1 in remembered
    assert len(remembered) <= MOST_REMEMBERED


def test_rows_are_counted_as_they_change(tmp_path):
    store = Store(tmp_path, ["toy"])
    store.write_part("asked", 0, [{"trial": 0, "config_hash": "a", "config": json.dumps({}), "seed": 0}])
    history = History(store)
    row = toy.row(trial=0, config_hash="a", status="stopped", rung=1)
    history.remember(row)
    assert (history.stopped, history.ran[0], history.tally.count("stopped")) == ([0], 1, 1)
    history.remember(replace(row, status="finished"))
    assert (history.stopped, history.ran[0], history.tally.count("stopped", "failed")) == ([], 1, 0)
    assert [each.status for each in history.finished] == ["finished"] == [r.status for r in history.tally.rows]


def test_what_training_led_to_is_learned_also_where_the_start_was_kept(tmp_path):
    store, (_, space) = Store(tmp_path, ["toy"]), toy.read()
    config = dict(space.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(0)).ask()))
    text, digest = json.dumps(config, sort_keys=True), config_hash(config, 5)
    store.write_part("asked", 0, [{"trial": 0, "config_hash": digest, "config": text, "seed": 5}])
    history = History(store)
    memory = memory_of(history)
    row = toy.row(trial=0, config_hash=digest, quality=0.9, **toy.costs(config))
    kept = replace(row, config=config, start_quality=0.9, trained_quality=0.4, kept_tokens=0)
    history.remember(kept)
    memory.add(kept)
    assert memory.front_MK[0, 0] == -0.9
    assert [each.quality for each in memory.seen([])] == [0.4]
    assert [each.values[0] for each in memory.told()] == [0.4]
