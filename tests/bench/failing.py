"""How many trials go to a part of a space that always fails, with and without the chance that a search learns.

A toy problem for `HypervolumeSampler`, 24 trials and three seeds: one kind of model fails, or all rates above a limit,
and nothing but the failures says so. What fails would be the better part if it did not.

    python tests/bench/failing.py
"""

import logging
import math
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna

from search.samplers.hypervolume import HypervolumeSampler

TRIALS, SEEDS = 24, 3
FAILS = {"one kind": lambda config: config["kind"] == "fails", "high rates": lambda config: config["rate"] > 10**-2.5}


def space(trial: Any) -> dict[str, Any]:
    """Three axes."""
    return {
        "kind": trial.suggest_categorical("kind", ["works", "fails"]),
        "layers": trial.suggest_int("layers", 1, 8),
        "rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
    }


def known(config: Mapping[str, Any]) -> list[float | None]:
    """The size; the kind that may fail has half of it."""
    return [None, config["layers"] * (0.5 if config["kind"] == "fails" else 1.0)]


def failed_shares(part: str) -> np.ndarray:
    """The share of trials that failed, in each half of the studies."""
    failed = []
    for seed in range(SEEDS):
        study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=HypervolumeSampler(space, known=known, seed=seed)
        )

        def objective(trial: optuna.Trial) -> tuple[float, float]:
            config = space(trial)
            if FAILS[part](config):
                raise ArithmeticError
            quality = 1 - 0.5 / config["layers"] ** 0.5 - 0.1 * (math.log10(config["rate"]) + 2) ** 2
            return quality, known(config)[1] or 0.0

        study.optimize(objective, n_trials=TRIALS, catch=ArithmeticError)
        failed.append([trial.state is optuna.trial.TrialState.FAIL for trial in study.trials])
    return np.mean(failed, axis=0).reshape(2, -1).mean(axis=1)


def main() -> None:
    """A row for each part that fails."""
    logging.disable(logging.CRITICAL)
    print("| what fails | trials 1 to 12 | 13 to 24 | without the chance: 1 to 12 | 13 to 24 |")
    print("| --- | --- | --- | --- | --- |")
    for part in FAILS:
        found = failed_shares(part)
        with patch("search.samplers.promises.chances", lambda configs, ended, failed: np.ones(len(configs))):
            before = failed_shares(part)
        print(f"| {part} | " + " | ".join(f"{share:.0%}" for share in (*found, *before)) + " |")


if __name__ == "__main__":
    main()
