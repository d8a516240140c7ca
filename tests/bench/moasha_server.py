"""Syne Tune's MOASHA behind a pipe, for search_efficiency.py; runs in an environment that has syne-tune 0.16.

JSON lines in, JSON lines out: first the axes and the rungs, then suggest, report, complete or error.
"""

import json
import random
import sys
from datetime import datetime

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA


def main() -> None:
    """Serve until the pipe closes."""
    about = json.loads(sys.stdin.readline())
    random.seed(about["seed"])
    np.random.seed(about["seed"])
    scheduler = MOASHA(
        {name: choice(list(range(size))) for name, size in about["axes"].items()}, ["loss", "parameters"],
        time_attr="train_tokens", max_t=about["budget"], grace_period=about["first"],
        reduction_factor=about["factor"], random_seed=about["seed"],
    )  # fmt: skip
    answer(True)
    trials: dict[int, Trial] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if message["do"] == "suggest":
            suggestion = scheduler.suggest()
            trial = Trial(trial_id=len(trials), config=suggestion.config, creation_time=datetime.now())
            trials[trial.trial_id] = trial
            scheduler.on_trial_add(trial)
            answer({"trial": trial.trial_id, "places": [suggestion.config[name] for name in about["axes"]]})
            continue
        trial = trials[message["trial"]]
        if message["do"] == "error":
            scheduler.on_trial_remove(trial)
            answer(True)
            continue
        result = {name: message[name] for name in ("train_tokens", "parameters")} | {"loss": -message["quality"]}
        if message["do"] == "complete":
            scheduler.on_trial_complete(trial, result)
            answer(True)
            continue
        goes_on = scheduler.on_trial_result(trial, result) == "CONTINUE"
        if not goes_on:
            scheduler.on_trial_remove(trial)
        answer(goes_on)


def answer(value: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
