"""Who gives way when a study outgrows its quota, and that what can be chosen never does."""

import logging
import tomllib
from dataclasses import replace

import pytest
import toy

from search.phases.students import local_student
from search.store.history import History
from search.store.keeping import Keeper, beaten, needed
from search.store.parts import Store
from spaces.errors import StillhouseError
from spaces.records.objectives import aim_of
from spaces.space.reading import read_space

MB = 1_000_000
AIM = aim_of(("quality", "parameters"), {})
CONFIG = {
    "method": "hs", "mapping": "uniform", "num_layers": 3, "hidden_size": 96, "num_heads": 8, "intermediate_size": 384,
    "initialisation": "random", "learning_rate": 1e-3, "batch_size": 16,
}  # fmt: skip


def row(trial, quality, parameters, latency_ms=1.0, **more):
    columns = {
        "config_hash": str(trial), "quality": quality, "parameters": parameters, "flops_per_token": 2 * parameters,
        "latency_p50_ms": latency_ms, "student_path": f"students/{trial:05d}",
        **CONFIG, "learning_rate": 1e-3 * (trial + 1), **more,
    }  # fmt: skip
    return toy.row(trial=trial, **columns)


ROWS = [
    row(0, 0.9, 300),  # the front of all costs
    row(1, 0.7, 100),
    row(2, 0.5, 100, latency_ms=0.5),  # beaten in quality and size, but the fastest
    row(3, 0.6, 100),  # right behind the front
    row(4, 0.4, 100),  # beaten twice
    row(5, 0.2, 300),  # beaten by all
    row(6, 0.1, 300, learning_rate=0.5),  # confirmed: two seeds
    row(7, 0.1, 300, learning_rate=0.5, seed=1),
]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path / "study" if request.param == "local" else f"memory://{tmp_path.name}/study", ["toy"])


def fill(store, rows):
    for each in rows:
        store.write_trial(each)
        if each.status == "finished":
            put(store, f"students/{each.trial:05d}/model.safetensors")
    return History(store)


def put(store, name):
    store.filesystem.create_dir(store.path(name).rpartition("/")[0], recursive=True)
    store.write_text(name, " " * MB)


def test_what_can_be_chosen_is_needed():
    assert needed(ROWS, AIM) == {0, 1, 2, 3, 6}
    assert [each.trial for each in beaten(ROWS, {0, 1, 2, 3, 6})] == [7, 5, 4]
    elsewhere = [{"profile": "gpu", "trial": each.trial, "latency_p50_ms": 0.1 if each.trial == 5 else 1.0}
                 for each in ROWS]  # fmt: skip
    assert 5 in needed(ROWS, AIM, elsewhere)
    assert needed([], AIM) == set() and beaten([], set()) == []


def test_a_student_is_kept_for_each_of_its_precisions(store):
    small = row(8, 0.45, 300, latency_ms=0.4, status="variant", of_trial=5, precision="int8", learning_rate=6e-3)
    small = replace(small, student_path="students/00005")
    assert needed([*ROWS, small], AIM) == {0, 1, 2, 3, 5, 6}
    slow = replace(small, costs={**small.costs, "latency_p50_ms": 9.0}, quality=0.1)
    assert 5 not in needed([*ROWS, slow], AIM)
    keeper = Keeper(fill(store, [*ROWS, slow]), AIM, 0.0065)
    keeper.tidy()
    left = {each.trial: each.student_path for each in store.read_trials()}
    assert left[5] == left[8] == "" and store.folders("students") == [f"{trial:05d}" for trial in (0, 1, 2, 3, 4, 6)]


def test_the_most_beaten_go_first_and_only_until_the_rest_fits(store, caplog):
    caplog.set_level(logging.INFO)
    history = fill(store, ROWS)
    lines = []
    keeper = Keeper(history, AIM, 0.0065, lines.append)
    keeper.tidy()
    left = {each.trial: each.student_path for each in store.read_trials()}
    assert left == {trial: each.student_path for trial, each in history.tally.by_trial.items()}
    assert [trial for trial, path in left.items() if not path] == [5, 7]
    assert store.folders("students") == [f"{trial:05d}" for trial in (0, 1, 2, 3, 4, 6)]
    assert "trial 5: student deleted, 1.0 MB (quality 0.200, beaten by others at its cost; 0.006 of 0.0065 GB" in (
        caplog.text
    )
    assert all(store.exists(path) for path in left.values() if path) and not lines
    with (
        pytest.raises(StillhouseError, match=r"the weights of trial 5 were not kept.*quota_gb") as caught,
        local_student(store, history.finished[5]),
    ):
        pass
    text = str(caught.value)
    space = read_space(tomllib.loads(text[text.index("[space]") :])["space"], toy.facts(), 128)
    assert list(space.enumerate()) == [CONFIG | {"learning_rate": ROWS[5].config["learning_rate"]}]
    with local_student(store, history.finished[4]) as folder:
        assert (folder / "model.safetensors").stat().st_size == MB


def test_what_is_needed_stays_whatever_the_quota(store):
    history = fill(store, ROWS)
    lines = []
    keeper = Keeper(history, AIM, 0.001, lines.append)
    keeper.tidy()
    keeper.make_room()
    assert store.folders("students") == [f"{trial:05d}" for trial in (0, 1, 2, 3, 6)]
    assert lines == [
        "the students that can still be chosen take 0.005 GB, more than [storage] quota_gb 0.001; they are kept"
    ]


def test_checkpoints_end_with_their_trials_and_those_of_stopped_ones_give_way_last(store):
    stopped = [row(trial, 0.1 * trial, 100, status="stopped", student_path="") for trial in (1, 2, 3)]
    history = fill(store, [row(0, 0.9, 100), *stopped])
    for trial in range(5):
        put(store, f"checkpoints/{trial:05d}/checkpoint.safetensors")
    lines = []
    keeper = Keeper(history, AIM, 0.0035, lines.append)
    keeper.started(1)  # promoted: it runs
    keeper.started(4)
    keeper.ended(history.tally.by_trial[0])
    keeper.ended(history.tally.by_trial[3])
    assert store.folders("checkpoints") == ["00001", "00002", "00003", "00004"] and not lines
    keeper.quota_gb = 0.0025
    keeper.make_room()
    assert store.folders("checkpoints") == ["00001", "00003", "00004"]
    assert lines == ["trial 2 would start over if it were taken up again: its checkpoint was deleted"]


def test_a_deletion_that_was_interrupted_is_finished_and_repeats_lose_their_path_too(store):
    rows = [row(0, 0.9, 100), row(1, 0.5, 100, student_path=""), row(2, 0.1, 100), row(3, 0.6, 100)]
    history = fill(store, [*rows, replace(rows[2], trial=4, status="duplicate", of_trial=2)])
    keeper = Keeper(history, AIM, 1.0)
    keeper.tidy()
    assert store.folders("students") == ["00000", "00002", "00003"]
    put(store, "checkpoints/00009/checkpoint.safetensors")  # interrupted: it will run again
    interrupted = Keeper(history, AIM, 0.0035)
    interrupted.tidy()
    assert interrupted.taken_gb == 0.003 and store.folders("checkpoints") == ["00009"]
    keeper.quota_gb = 0.0025
    keeper.make_room()
    assert [each.student_path for each in store.read_trials()] == [
        "students/00000",
        "",
        "",
        "students/00003",
        "",
    ]
