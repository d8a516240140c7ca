"""The whole way on the embedded teacher, as a user goes it: spec, trials on Ray, Parquet, front, page, export."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from docstring_task import write_docstring_task
from modes import wrong_modes
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from search.cli.main import main
from search.phases.students import space_of
from search.store.parts import Store

ROOT = Path(__file__).parents[1]
UMASK = 0o027
SPEC = """
name = "whole"
seed = 3
[teacher]
path = "package:trainables/embedded_teacher"
[corpus]
source = "text"
sequence_length = 32
[budget]
trials = {trials}
train_tokens = 3_000
[space]
{space}
learning_rate = [2e-3]
batch_size = [8]
[[tasks]]
name = "origin"
source = "origin"
kind = "classification"
max_length = 32
[targets]
mode = "{targets}"
[evaluation]
floor_seeds = 1
starts = {starts}
[search]
sampler = "{sampler}"
[cluster]
concurrent_trials = 1
workers_per_trial = {workers}
"""
SEVERAL = """
method = ["od", "hs", "mha", "od + 0.5 hs"]
shape = ["2x96", "3x96"]
mapping = ["uniform", "last_k"]
initialisation = ["random", "projected_layers"]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a corpus and a task, cut from the docstrings of three installed packages, and a cache."""
    folder = tmp_path_factory.mktemp("data")
    write_docstring_task(folder)
    return folder


@pytest.fixture
def stillhouse(data, ray_cluster, monkeypatch, capfd):
    """A command in this process and on the cluster of the tests; returns what it printed."""
    monkeypatch.chdir(data)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "unused")  # so that no command makes one

    def call(*arguments):
        capfd.readouterr()
        assert main([str(each) for each in arguments]) == 0
        return "".join(capfd.readouterr())

    return call


def in_its_own_process(data, *arguments):
    """A command as a user gives it, with a cluster of its own; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "search.cli", *map(str, arguments)], capture_output=True, text=True, timeout=600,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
        | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}, cwd=data, umask=UMASK,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_spec(path, space, **options):
    options = {
        "trials": 5,
        "sampler": "random",
        "workers": 1,
        "targets": "cache",
        "starts": "false",
        **options,
    }
    path.write_text(SPEC.format(space=space, **options))
    return path


def test_from_a_spec_to_a_student_that_loads(data, stillhouse):
    spec, study = write_spec(data / "several.toml", SEVERAL), data / "study"
    assert "no problems" in stillhouse("check", spec)
    printed = in_its_own_process(data, "run", spec, study)
    assert not wrong_modes(study, UMASK)
    assert "(5 finished, 0 failed" in printed
    assert re.search(r"teacher targets: \d+ shards written", printed)
    assert "the budget of 5 trials is spent" in stillhouse("resume", study)
    trials = pd.read_parquet(study / "trials")
    assert sorted(trials.trial) == list(range(5)) and set(trials.status) == {"finished"}
    assert set(trials.targets) == {"cache"}
    assert np.isfinite(trials[["quality", "score_origin", "parameters", "latency_p50_ms", "held_out_loss"]]).all().all()
    reports = pd.read_parquet(study / "reports")
    assert reports.groupby("trial").train_tokens.max().ge(3_000).all()
    assert "teacher" in stillhouse("front", study)
    stillhouse("report", study)
    assert "plotly" in (study / "report.html").read_text(encoding="utf-8")
    best = json.loads(stillhouse("best", study, "--json"))
    tested = pd.read_parquet(study / "test_scores")
    assert {-2, -1} < set(tested.trial) and best["trial"] in set(trials.trial)
    number = int(trials[trials.method == "od"].trial.iloc[0])
    stillhouse("export", study, data / "student", "--trial", number)
    inputs = AutoTokenizer.from_pretrained(data / "student")("a tensor of ones", return_tensors="pt")
    with torch.inference_mode():
        plain = AutoModel.from_pretrained(data / "student")(**inputs).last_hidden_state
        under = AutoModelForMaskedLM.from_pretrained(data / "student").base_model(**inputs).last_hidden_state
    assert torch.isfinite(plain).all() and torch.equal(plain, under)
    recipe = json.loads((data / "student" / "recipe.json").read_text())
    assert recipe["config"]["method"] == "od" and str(data) not in json.dumps(recipe)
    # The same student with more tokens: on from its weights, tested, exported.
    printed = stillhouse(
        "promote", study, data / "again", "--trial", number, "--seeds", 1, "--go-on", "--train-tokens", "6000"
    )
    assert re.search(r"in the search +-?\d\.\d{3} +-?\d\.\d{3} +3,072", printed)
    assert re.search(r"seed 3 +-?\d\.\d{3} +-?\d\.\d{3} +6,144", printed)
    assert AutoModelForMaskedLM.from_pretrained(data / "again" / "best").config.vocab_size > 0
    promoted = pd.read_parquet(data / "again" / "trials")
    assert promoted.loss_first.iloc[0] < trials.set_index("trial").loss_first[number]
    assert "1 way to learn on 1 student, 1 seed each" in stillhouse("table", data / "again")
    kept = pd.read_parquet(data / "again" / "baselines")
    assert set(kept.kept) == {"first", "uniform", "removal"} and set(kept.split) == {"dev", "test"}
    # Two workers, with the teacher live, train a student along the curve that one did from the cache.
    chosen = next(row for row in Store(study).read_trials() if row.config["method"] == "od + 0.5 hs")
    axes = tomllib.loads(space_of(chosen))["space"]
    space = "\n".join(
        f"{name} = {json.dumps(axes[name])}" for name in sorted({*axes} - {"learning_rate", "batch_size"})
    )
    both = write_spec(data / "both.toml", space, trials=1, sampler="grid", workers=2, targets="live", starts="true")
    stillhouse("run", both, data / "both")
    one = reports[reports.trial == chosen.trial].sort_values("step")
    two = pd.read_parquet(data / "both" / "reports").sort_values("step")
    rows = pd.read_parquet(data / "both" / "trials").set_index("method")
    trained = rows.loc["od + 0.5 hs"]
    assert trained.quality == max(trained.start_quality, trained.trained_quality)
    if chosen.config["initialisation"] != "random":  # its start is a student as well
        assert rows.loc["untrained"].quality == trained.start_quality and rows.loc["untrained"].train_tokens == 0
    assert len(one) > 5
    np.testing.assert_allclose(one.loss, two.loss, rtol=2e-3)  # the teacher runs in bf16 where the machine has it
    np.testing.assert_allclose(one.gradient_norm, two.gradient_norm, rtol=2e-2)
