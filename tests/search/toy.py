"""A small study on an invented teacher, whose trials are formulas. As a script it is a driver that can be killed."""

import os
import sys
import tomllib
from pathlib import Path

from search.cluster import cluster
from search.runner import Plan, log_file, tune_study
from search.spec import check_all, to_toml  # noqa: F401 - for the tests
from search.store import Store
from spaces.architecture import StudentArchitecture, TeacherFacts, architecture_of, count_parameters, flops_per_token

ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)]),
    "RAY_AUTH_MODE": "disabled",
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",  # the default, 15, makes the tests crawl on a machine that has anything else to do
}
"""What a driver needs so that its workers find the packages and the fake trials."""
SPEC = """
name = "toy"
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


def facts(path="invented"):
    """A 6x384 BERT that does not exist."""
    return TeacherFacts(path, "bert", StudentArchitecture(6, 384, 12, 1536), 1000, 512, 2, False, "0" * 16)


def read(text=SPEC, folder=Path("/nowhere")):
    """The checked spec and its space."""
    spec, space, _ = check_all(tomllib.loads(text), folder, "toy.toml", facts)
    return spec, space


def costs(config):
    """Exact sizes and a latency that is a formula."""
    architecture = architecture_of(config)
    return {
        "parameters": count_parameters(architecture, facts()),
        "flops_per_token": flops_per_token(architecture, 128),
        "latency_p50_ms": architecture.num_layers * architecture.hidden_size / 100,
    }


def plan(text=SPEC, **job):
    """The study, ready to run; `job` goes to the fake trials."""
    spec, space = read(text)
    study = {
        "format": 1,
        "name": spec.name,
        "objectives": list(spec.search.objectives),
        "teacher": {},
        "tasks": {"toy": {}},
    }
    return Plan(spec, space, costs, ("toy",), job, study, {}, "fake_trials:study_trial")


if __name__ == "__main__":
    text = SPEC.replace("concurrent_trials = 2", "concurrent_trials = 1")
    wanted = plan(text, journal=sys.argv[2], step_s=float(sys.argv[3]))
    store = Store(sys.argv[1], ["toy"])
    with store.locked(), cluster(wanted.spec.cluster, None, log_file(store)):
        tune_study(wanted, store)
