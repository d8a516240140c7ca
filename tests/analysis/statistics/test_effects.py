"""Comparisons: what is counted, what is left out, and that importance finds the axis that matters."""

from types import SimpleNamespace

import numpy as np
import pytest

from analysis import load
from analysis.statistics.effects import (
    axis_importance,
    compare_mappings,
    failures,
    importance_by_branch,
    method_by_architecture,
)


def test_method_by_architecture(fake: SimpleNamespace) -> None:
    rows = [
        fake.row(0, 0.9, (6, 384)),
        fake.row(1, 0.2),
        fake.row(2, 0.4),
        fake.row(3, 0.6),
        fake.row(4, 0.5, method="od"),
        fake.row(5, float("nan")),
        {"trial": 6, "status": "failed", "method": "mha", "quality": 1.0},
    ]
    table = method_by_architecture(load(fake.study(rows))).set_index(["architecture", "method"])
    assert table.index.tolist() == [("3x192", "mha"), ("3x192", "od"), ("6x384", "mha")]
    cell = table.loc[("3x192", "mha")]
    assert (cell["n"], cell["best"], cell["best_trial"]) == (3, 0.6, 3)
    assert cell["mean"] == pytest.approx(0.4) and cell["low"] < 0.4 < cell["high"]
    assert np.isnan(table.loc[("3x192", "od"), "low"])


def test_mappings_are_compared_among_the_trials_that_have_one(fake: SimpleNamespace) -> None:
    rows = [fake.row(0, 0.9), fake.row(1, 0.2, mapping="last"), fake.row(2, 0.6, mapping="uniform")]
    table = compare_mappings(load(fake.study(rows)))
    assert table["mapping"].tolist() == ["uniform", "last"] and table["n"].tolist() == [1, 1]


def test_failures_by_reason_leave_duplicates_out(fake: SimpleNamespace) -> None:
    rows = [
        {"trial": 0, "status": "failed", "reason": "out of memory"},
        {"trial": 1, "status": "infeasible", "reason": "heads do not divide"},
        {"trial": 2, "status": "infeasible", "reason": "heads do not divide"},
        {"trial": 3, "status": "failed"},
        {"trial": 4, "status": "duplicate", "of_trial": 5},
        fake.row(5, 0.5),
    ]
    table = failures(load(fake.study(rows)))
    assert list(table[["reason", "n", "first_trial"]].itertuples(index=False, name=None)) == [
        ("heads do not divide", 2, 1),
        ("out of memory", 1, 0),
        ("no reason recorded", 1, 3),
    ]


def test_importance_finds_the_axis_that_decides(fake: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for trial in range(80):
        depth = int(rng.integers(2, 7))
        quality = depth / 6 + float(rng.normal(0, 0.01))
        rows.append(
            fake.row(
                trial,
                quality,
                (depth, 192),
                batch_size=int(rng.choice([8, 16, 32])),
                temperature=None,
                learning_rate=1e-3,
            )
        )
    table = axis_importance(load(fake.study(rows)))
    assert table is not None and table.index[0] == "num_layers"
    assert list(table.columns) == ["quality", "parameters"]
    assert "hidden_size" not in table.index  # never varied
    assert np.allclose(table.sum(), 1) and table.loc["num_layers", "quality"] > 0.7


def test_importance_needs_ten_trials_and_something_that_varies(fake: SimpleNamespace) -> None:
    assert axis_importance(load(fake.study([fake.row(t, t / 10) for t in range(9)]))) is None


def test_importance_needs_something_that_varies(fake: SimpleNamespace) -> None:
    assert axis_importance(load(fake.study([fake.row(t, t / 20, learning_rate=1e-3) for t in range(12)]))) is None


def test_importance_within_each_branch_knows_the_axes_of_that_branch(fake: SimpleNamespace) -> None:
    rng, rows = np.random.default_rng(0), []
    for trial in range(60):
        heads, temperature = int(rng.choice([4, 12, 24])), float(rng.choice([1.0, 2.0, 4.0]))
        if trial % 2:
            rows.append(fake.row(trial, heads / 30, method="mha", relation_heads=heads, learning_rate=1e-3))
        else:
            axes = {"relation_heads": None, "teacher_layer": None, "temperature": temperature, "learning_rate": 1e-3}
            rows.append(fake.row(trial, temperature / 5, method="od", **axes))
    study = load(fake.study(rows))
    tables = importance_by_branch(study)
    assert {method: list(table.index) for method, table in tables.items()} == {
        "mha": ["relation_heads"], "od": ["temperature"],
    }  # fmt: skip
    table = axis_importance(study, "mha", evaluator="fanova")
    assert table is not None and list(table.index) == ["relation_heads"]
