"""NePS' MO-Hyperband behind a pipe, for search_efficiency.py; runs in an environment that has neural-pipeline-search.

Its fidelity has the values 1, 3 and 9, one for each rung. What it asks for ends at the rung that it names; a
configuration that it promotes goes on from there under a new number. JSON lines in and out, as in moasha_server.py.
"""

import json
import random
import sys

import neps
import numpy as np
import torch

LEVELS = {1: 1, 3: 2, 9: 3}
"""Rung by fidelity."""


def main() -> None:
    """Serve until the pipe closes."""
    about = json.loads(sys.stdin.readline())
    random.seed(about["seed"])
    np.random.seed(about["seed"])
    torch.manual_seed(about["seed"])
    search = neps.AskAndTell(neps.algorithms.mo_hyperband(space_of(about), eta=about["factor"]))
    answer(True)
    for line in sys.stdin:
        message = json.loads(line)
        if message["do"] == "suggest":
            answer(suggested(search, about))
            continue
        trial = search.trials[message["trial"]]
        if message["do"] == "error":
            search.tell(trial, ValueError("it failed"))
            answer(True)
            continue
        if message["do"] == "report" and message["level"] < LEVELS[trial.config["fidelity"]]:
            answer(True)
            continue
        search.tell(trial, {"objective_to_minimize": [-message["quality"], message["parameters"]]})
        answer(False)


def space_of(about: dict) -> neps.PipelineSpace:
    """The five parameters and the fidelity."""
    axes: dict = {"fidelity": neps.IntegerFidelity(lower=1, upper=9)}
    for name, size in about["axes"].items():
        if name in about["names"]:
            axes[name] = neps.Categorical(choices=tuple(range(size)))
        else:
            axes[name] = neps.Integer(lower=0, upper=size - 1)
    return type("Space", (neps.PipelineSpace,), axes)()


def suggested(search: neps.AskAndTell, about: dict) -> dict:
    """What it asks for next, and how many rungs that has passed."""
    trial = search.ask()
    before = trial.metadata.previous_trial_id
    passed = 0 if before is None else LEVELS[search.trials[before].config["fidelity"]]
    return {"trial": trial.id, "places": [int(trial.config[name]) for name in about["axes"]], "passed": passed}


def answer(value: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
