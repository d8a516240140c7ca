"""A small study on an invented teacher, and one Ray cluster for all tests that need one."""

import logging
import os
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from search.environment import quiet_environment  # noqa: E402

quiet_environment()

from search.runner import Plan  # noqa: E402
from search.spec import check_all  # noqa: E402
from spaces.architecture import (  # noqa: E402
    StudentArchitecture,
    TeacherFacts,
    architecture_of,
    count_parameters,
    flops_per_token,
)

SPEC = """
seed = 5
[teacher]
path = "invented"
[corpus]
source = "docs"
sequence_length = 64
[budget]
trials = 8
train_tokens = 300_000
[space]
method = ["hs", "mha"]
num_layers = [2, 3, 4]
hidden_size = [96, 192, 384]
ffn_ratio = [4.0]
[[tasks]]
name = "toy"
source = "docs:package"
kind = "classification"
[cluster]
concurrent_trials = 2
"""


def facts() -> TeacherFacts:
    """A 6x384 BERT that does not exist."""
    return TeacherFacts("invented", "bert", StudentArchitecture(6, 384, 12, 1536), 1000, 512, 2, False, "0" * 16)


def make_spec(text=SPEC, folder=ROOT):
    """The checked spec and its space."""
    spec, space, _ = check_all(tomllib.loads(text), folder, "toy.toml", lambda path: facts())
    return spec, space


def costs(config):
    """Exact sizes and a latency that is a formula."""
    architecture = architecture_of(config)
    return {
        "parameters": count_parameters(architecture, facts()),
        "flops_per_token": flops_per_token(architecture, 128),
        "latency_p50_ms": architecture.num_layers * architecture.hidden_size / 100,
    }


def make_plan(text=SPEC, **job):
    """A study whose trials are formulas."""
    spec, space = make_spec(text)
    return Plan(
        spec,
        space,
        costs,
        ("toy",),
        job,
        {"format": 1, "name": spec.name, "tasks": {"toy": {}}},
        {},
        "fake_trials:study_trial",
    )


@pytest.fixture(scope="session")
def ray_cluster():
    """Two CPUs of a cluster of our own."""
    import ray

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.CRITICAL, log_to_driver=False,
             object_store_memory=100_000_000)  # fmt: skip
    yield ray
    ray.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
