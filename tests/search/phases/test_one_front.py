"""A limit on latency keeps the same students off the front, whoever asks: tests, confirm, page, card."""

import io
import json

import pytest
import toy
from rich.console import Console

from analysis import load
from analysis.page.report import content
from search.phases import tested
from search.phases.exporting import place_on_front
from search.proposals.asktell import AskTell
from search.proposals.leaders import leading
from search.store.keeping import needed
from search.store.parts import Store
from search.tune.progress import StudyProgress
from spaces.records.fronts import front_of

SPEC = toy.SPEC.replace("[cluster]", "[search]\nconstraints = { latency_ms = 6.0 }\n[cluster]")
SPEC = SPEC.replace("[2, 3, 4]", "[1, 2, 3, 4, 5, 6]").replace("[96, 192, 384]", "[48, 96, 144, 192, 240, 288, 336]")
SHAPES = ((4, 336, 0.9), (2, 288, 0.8), (3, 192, 0.7), (1, 96, 0.4), (2, 96, 0.3))
"""Layers, width, quality: the first is beyond the limit, the last beaten."""
FRONT, BEYOND = [3, 2, 1], 0


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "study", ["toy"])
    plan = toy.plan(SPEC)
    store.write_text("study.json", plan.meta.to_json())
    store.write_text("spec.toml", toy.to_toml(plan.study.spec))
    for trial, (layers, width, quality) in enumerate(SHAPES):
        config = {
            "method": "hs", "mapping": "uniform", "num_layers": layers, "hidden_size": width, "num_heads": width // 24,
            "intermediate_size": 4 * width, "initialisation": "random", "learning_rate": 1e-3, "batch_size": 16,
        }  # fmt: skip
        row = {
            "trial": trial, "status": "finished", "reason": "", "seed": 5, "config_hash": str(trial), **config,
            **toy.costs(config), "quality": quality, "score_toy": quality, "recovered_toy": quality,
            "train_tokens": 300_000, "student_path": f"students/{trial:05d}",
        }  # fmt: skip
        ask = {"trial": trial, "config_hash": str(trial), "config": json.dumps(config), "seed": 5}
        store.write_part("asked", trial, [ask])
        store.write_part("trials", trial, [row])
    return store


def numbers(rows):
    return [row.trial for row in rows]


def test_whoever_asks(store, monkeypatch):
    spec, space = toy.read(SPEC)
    assert len({shape for shapes in space.feasible.values() for shape in shapes}) > 40
    rows = store.read_trials()
    study = load(store.folder)
    asktell = AskTell(store, toy.searched(SPEC, limits=spec.search.constraints))

    assert numbers(front_of(rows, asktell.aim)) == FRONT
    assert study.front()["trial"].tolist() == FRONT
    assert sorted(numbers([each.row for each in leading(rows, asktell.aim, 9)])) == sorted(FRONT)
    assert len(asktell.memory.front_MK) == len(FRONT)
    assert set(FRONT) <= needed(rows, asktell.aim)

    members, plan = [], toy.plan(SPEC)
    monkeypatch.setattr(tested, "score_tests", lambda spec, store, found, *rest: members.extend(found))
    tested.score_front(spec, store, plan.meta, plan.job, print)
    assert numbers(members) == FRONT

    terminal = io.StringIO()
    progress = StudyProgress(asktell, terminal)
    assert progress.best() == "0.800"
    Console(file=terminal, width=100).print(progress.view())
    shown = [line.split()[0] for line in terminal.getvalue().splitlines() if " hs " in line]
    assert shown == [str(trial) for trial in FRONT]

    assert "One of 3 students on the front" in place_on_front(rows[1], rows, asktell.aim)
    assert "beyond the limits of its study (latency_ms <= 6)" in place_on_front(rows[BEYOND], rows, asktell.aim)
    assert "as good in all of these and better in one" in place_on_front(rows[4], rows, asktell.aim)

    page = content(study)
    assert f"{len(FRONT)} of 5 finished students are beaten by no other" in page
    assert study.pick().trial["trial"] in FRONT
    assert study.pick(max_latency_ms=100, max_parameters=1e9).trial["trial"] == BEYOND
    looser = study.pick(max_latency_ms=100, knee_of_front=True)
    assert "(4 students)" in looser.reason
