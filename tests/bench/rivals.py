"""Other searches, each in the form that suits it best, as `simulate` drives them.

Optuna's samplers are asked and told. Depth and width are whole numbers (their places among the recorded ones), and one
categorical parameter holds the method with what belongs to it alone, so that the space has the same five parameters
everywhere: samplers that cannot model axes that come and go lose nothing by it. A configuration that has run already
is answered from memory at no cost, as a careful user would do. MOASHA, BoTorch, NePS and SMAC live in environments of
their own, behind a pipe (*_server.py). All are told the quality of the student that a trial hands over.
"""

import json
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from simulate import Recording, Rung, key

SHARED = ("num_layers", "hidden_size", "initialisation", "learning_rate")
SHAPE = ("num_heads", "intermediate_size", "batch_size")
REPEATS = 100
"""Known configurations in a row after which one is run again."""


class Flat:
    """A recorded space as five parameters that every configuration has: places in lists."""

    def __init__(self, table: Recording) -> None:
        self.table = table
        self.lists: dict[str, list[Any]] = {"kind": sorted({kind_of(config) for config in table.configs.values()})}
        for name in SHARED:
            self.lists[name] = sorted({config[name] for config in table.configs.values()})
        self.by_places = {self.places(config): config for config in table.configs.values()}

    def places(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Where the values of a configuration stand in the lists."""
        values = {"kind": kind_of(config), **{name: config[name] for name in SHARED}}
        return tuple(choices.index(values[name]) for name, choices in self.lists.items())

    def config(self, places: tuple[int, ...]) -> Mapping[str, Any]:
        """The configuration at these places, or where the table has none, the nearest that it has."""
        found = self.by_places.get(places)
        if found is None:
            apart = {known: sum(abs(a - b) for a, b in zip(known, places, strict=True)) for known in self.by_places}
            found = self.by_places[min(apart, key=lambda known: (apart[known], known))]
        return found


def kind_of(config: Mapping[str, Any]) -> str:
    """A method with its own axes, as one name."""
    own = {name: value for name, value in config.items() if name not in (*SHARED, *SHAPE)}
    return json.dumps(own, sort_keys=True)


class Optuna:
    """A sampler of Optuna for two objectives, by ask and tell."""

    def __init__(self, table: Recording, seed: int, folder: str, sampler: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        self.table, self.flat = table, Flat(table)
        makers = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
            "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed, deterministic_objective=False),
        }
        self.study = optuna.create_study(directions=["maximize", "minimize"], sampler=makers[sampler]())
        self.known: dict[str, tuple[float, float]] = {}

    def suggest(self) -> tuple[Any, Mapping[str, Any], int]:
        for repeat in range(REPEATS + 1):
            trial = self.study.ask()
            config = self.flat.config(tuple(self.draw(trial)))
            if key(config) not in self.known or repeat == REPEATS:
                break
            self.study.tell(trial, self.known[key(config)])
        return (trial, key(config)), config, 0

    def draw(self, trial: optuna.Trial) -> list[int]:
        """Places of all five parameters."""
        places = []
        for name, choices in self.flat.lists.items():
            if name in ("kind", "initialisation"):
                places.append(trial.suggest_categorical(name, list(range(len(choices)))))
            else:
                places.append(trial.suggest_int(name, 0, len(choices) - 1))
        return places

    def report(self, handle: Any, level: int, rung: Rung) -> bool:
        return True

    def complete(self, handle: Any, rung: Rung | None) -> None:
        trial, name = handle
        if rung is None:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        self.known[name] = (rung.kept_quality, self.table.costs[name]["parameters"] / self.table.teacher_parameters)
        self.study.tell(trial, self.known[name])


class Served:
    """A search behind a pipe, in the Python of another environment; JSON lines of places."""

    def __init__(self, table: Recording, seed: int, folder: str, server: str, python: str) -> None:
        self.table, self.flat = table, Flat(table)
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name(server))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.call({
            "seed": seed, "factor": 3, "first": table.about["rungs"][0], "budget": table.budget_tokens,
            "axes": {name: len(choices) for name, choices in self.flat.lists.items()},
            "names": ["kind", "initialisation"], "everything": list(self.flat.by_places),
            "kinds": [json.loads(kind) for kind in self.flat.lists["kind"]],
        })  # fmt: skip
        self.parameters: dict[int | str, float] = {}

    def call(self, message: Mapping[str, Any]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def suggest(self) -> tuple[Any, Mapping[str, Any], int]:
        answer = self.call({"do": "suggest"})
        config = self.flat.config(tuple(answer["places"]))
        self.parameters[answer["trial"]] = self.table.costs[key(config)]["parameters"] / self.table.teacher_parameters
        return answer["trial"], config, answer.get("passed", 0)

    def report(self, handle: Any, level: int, rung: Rung) -> bool:
        return bool(self.call({"do": "report", "trial": handle, "level": level, **self.result(handle, rung)}))

    def complete(self, handle: Any, rung: Rung | None) -> None:
        if rung is None:
            self.call({"do": "error", "trial": handle})
        else:
            self.call({"do": "complete", "trial": handle, **self.result(handle, rung)})

    def result(self, handle: int | str, rung: Rung) -> dict[str, Any]:
        """What a search that asks for two objectives is told."""
        return {"train_tokens": rung.train_tokens, "quality": rung.kept_quality, "parameters": self.parameters[handle]}

    def __del__(self) -> None:
        self.process.kill()
        self.process.wait()
