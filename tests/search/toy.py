"""A small study on an invented teacher, whose trials are formulas.

As a script, `toy.py FOLDER OPTIONS`, it is a driver that can be killed; the options are JSON: address, spec, function,
and what goes to the fake trials.
"""

import json
import os
import sys
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

from search.proposals.searched import Searched
from search.spec.checks import check_all
from search.spec.writing import to_toml  # noqa: F401 - for the tests
from search.store.parts import Store
from search.tune.cluster import cluster
from search.tune.tuning import Plan, ask_tell, job_maker, log_file, tune_study
from spaces.errors import StillhouseError
from spaces.records.columns import axis_columns
from spaces.records.latency import LatencySpec
from spaces.records.meta import StudyMeta, TaskMeta, TeacherMeta
from spaces.records.objectives import aim_of
from spaces.records.rows import TrialRow
from spaces.students.architecture import (
    StudentArchitecture,
    TeacherFacts,
    architecture_of,
    count_parameters,
    flops_per_token,
)
from trainables.lanes.messages import TrialJob
from trainables.lanes.settings import load_function
from trainables.models.families.bert import BertFacts
from trainables.tasks.spec import EvaluationSpec

ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)]),
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_prestart_worker_first_driver": "0",  # one for each CPU, which nobody would use
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
[evaluation]
starts = false
[cluster]
concurrent_trials = 2
"""


def facts(path="invented", embedding=None, tokenizer=None):
    """A 6x384 BERT that does not exist."""
    return TeacherFacts(path, BertFacts("bert"), StudentArchitecture(6, 384, 12, 1536), 1000, 512, 2, False, "0" * 16)


@cache
def checked(text=SPEC, folder=Path("/nowhere")):
    """The study of a spec."""
    return check_all(tomllib.loads(text), folder, "toy.toml", facts)


def read(text=SPEC, folder=Path("/nowhere")):
    """The checked spec and its space."""
    study = checked(text, folder)
    return study.spec, study.space


def row(**columns):
    """A row of the trials table, finished unless told; `columns` as the table has them."""
    return TrialRow.from_columns({"config_hash": "", "seed": 0, "status": "finished", **columns}, ["toy"])


def costs(config):
    """Exact sizes and a latency that is a formula."""
    architecture = architecture_of(config)
    return {
        "parameters": count_parameters(architecture, facts()),
        "flops_per_token": flops_per_token(architecture, facts(), 128),
        "latency_p50_ms": architecture.num_layers * architecture.hidden_size / 100,
    }


def searched(text=SPEC, objectives=None, limits=None, **more):
    """What a spec searches; `more` are fields of Searched."""
    spec, space = read(text)
    axes = [column.name for column in axis_columns(space.own_axes)]
    aim = aim_of(objectives or spec.search.objectives, limits or {}, axes)
    return Searched(space, costs, aim, **{"seed": 5, "budget": 12, **more})


def plan(text=SPEC, **orders):
    """The study, ready to run; `orders` go to the fake trials."""
    study = checked(text)
    job = TrialJob(
        trial=-1, config={}, seed=study.spec.seed, teacher=json.dumps(orders), corpus="", tasks=(),
        train_tokens=study.spec.budget.train_tokens, evaluation=EvaluationSpec(), floors={},
    )  # fmt: skip
    own = replace(study.spec.cluster, gpus_per_worker=0)
    return Plan(study, costs, ("toy",), job, meta(study.spec, study.space), own, {}, "fake_trials:study_trial")


def tuned_alone(plan, store):
    """The rows of a study to whose end one lane runs it, here and now, without Tune."""
    from trainables.lanes.worker import Stopped, attempt  # a driver does without torch

    asktell = ask_tell(plan, store, print)
    make_job = job_maker(plan, asktell.history, lambda trial: None)
    while (ask := asktell.ask()) is not None:

        def report(row, trial=ask.trial):
            if asktell.report(trial, row) is not None:
                raise Stopped

        if (outcome := attempt(load_function(plan.function), make_job(ask), report)) is not None:
            asktell.tell(ask.trial, outcome)
    return store.read_rows("trials")


def meta(spec, space):
    """What study.json would say of it."""
    teacher = facts()
    return StudyMeta(
        name=spec.name, created="2026-01-02T03:04:05+00:00", seed=spec.seed, space_digest=space.digest(),
        objectives=spec.search.objectives, constraints=spec.search.constraints, train_tokens=spec.budget.train_tokens,
        num_trials=spec.budget.trials, sampler=spec.search.sampler, protocol="probe",
        teacher=TeacherMeta(teacher.name, "bert", teacher.digest, teacher.architecture, 1000, 512, 2, False),
        tasks={"toy": TaskMeta(kind="classification", metric="accuracy", teacher=0.9, floor=0.5)},
        latency=LatencySpec(), hardware="Some CPU", versions={},
    )  # fmt: skip


if __name__ == "__main__":
    options = json.loads(sys.argv[2])
    address, text = options.pop("address", None), options.pop("spec", SPEC)
    function = options.pop("function", "fake_trials:study_trial")
    wanted, store = replace(plan(text, **options), function=function), Store(sys.argv[1], ["toy"])
    try:
        with store.locked(), cluster(wanted.study.spec.cluster, address, log_file(store)):
            tune_study(wanted, store)
    except StillhouseError as error:
        sys.exit(str(error))
