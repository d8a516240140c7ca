"""SMAC with ParEGO behind a pipe, for search_efficiency.py; runs in an environment that has smac.

Its forest models axes that come and go, so that a method has its own axes here, under conditions. Whole trials only:
SMAC has no search of several fidelities and objectives by ask and tell. JSON lines in, JSON lines out, as
moasha_server.py.
"""

import json
import sys
import tempfile

from ConfigSpace import Categorical, ConfigurationSpace, InCondition, Integer
from smac import HyperparameterOptimizationFacade, Scenario
from smac.multi_objective.parego import ParEGO
from smac.runhistory import StatusType, TrialValue

PIPE = sys.stdout
sys.stdout = sys.stderr
FAILED = 2.0
"""Of both objectives, for a trial that failed: worse than any other."""


def main() -> None:
    """Serve until the pipe closes."""
    about = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            space_of(about), objectives=["loss", "parameters"], deterministic=True, n_trials=10_000, seed=about["seed"],
            output_directory=folder,
        )  # fmt: skip
        search = HyperparameterOptimizationFacade(
            scenario, lambda config, seed=0: {"loss": 0.0, "parameters": 0.0}, overwrite=True, logging_level=False,
            multi_objective_algorithm=ParEGO(scenario),
            initial_design=HyperparameterOptimizationFacade.get_initial_design(scenario, n_configs=10),
        )  # fmt: skip
        answer(True)
        asked: list = []
        for line in sys.stdin:
            message = json.loads(line)
            if message["do"] == "suggest":
                asked.append(search.ask())
                answer({"trial": len(asked) - 1, "places": places_of(asked[-1].config, about)})
                continue
            if message["do"] == "report":
                answer(True)
                continue
            ended = message["do"] == "complete"
            costs = [-message["quality"], message["parameters"]] if ended else [FAILED, FAILED]
            status = StatusType.SUCCESS if ended else StatusType.CRASHED
            search.tell(asked[message["trial"]], TrialValue(cost=costs, status=status), save=False)
            answer(True)


def space_of(about: dict) -> ConfigurationSpace:
    """Method, the axes of methods under conditions, and the parameters that all have."""
    space = ConfigurationSpace(seed=about["seed"])
    kinds = about["kinds"]
    method = Categorical("method", sorted({kind["method"] for kind in kinds}))
    space.add(method)
    for name in sorted({name for kind in kinds for name in kind} - {"method"}):
        own = Categorical(name, sorted({str(kind[name]) for kind in kinds if name in kind}))
        space.add(own)
        space.add(InCondition(own, method, sorted({kind["method"] for kind in kinds if name in kind})))
    for name, size in about["axes"].items():
        if name == "kind":
            continue
        if name in about["names"]:
            space.add(Categorical(name, [str(place) for place in range(size)]))
        elif size > 1:
            space.add(Integer(name, (0, size - 1)))
    return space


def places_of(config: dict, about: dict) -> list[int]:
    """Of a configuration of `space_of`; the nearest kind where a method does not go with a value of its axes."""
    values = dict(config)
    wanted = {name: value for name, value in values.items() if name not in about["axes"]}

    def apart(kind: dict) -> int:
        return sum(str(kind.get(name)) != str(wanted.get(name)) for name in {*kind, *wanted})

    alike = [100 * (kind["method"] != wanted["method"]) + apart(kind) for kind in about["kinds"]]
    return [alike.index(min(alike)) if name == "kind" else int(values.get(name, 0)) for name in about["axes"]]


def answer(value: object) -> None:
    """One line."""
    PIPE.write(json.dumps(value) + "\n")
    PIPE.flush()


if __name__ == "__main__":
    main()
