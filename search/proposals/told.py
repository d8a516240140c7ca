"""What Optuna is told: a study that is built anew from the history for every draw.

It holds finished trials at their full budget, and running ones. A configuration is written in Optuna's names by asking
the search space for it with a trial that answers from the configuration.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.samplers.answers import Answers, axis_of
from spaces.records.objectives import Objective
from spaces.space.search_space import SearchSpace
from spaces.students.architecture import architecture_of
from spaces.students.stages import axes_of


def study_of(
    told: Sequence[FrozenTrial], running: Sequence[Answers], objectives: Sequence[Objective], sampler: BaseSampler
) -> optuna.Study:
    """A study that remembers these trials, in this order."""
    study = optuna.create_study(
        directions=["maximize" if o.direction == "max" else "minimize" for o in objectives], sampler=sampler
    )
    study.add_trials(told)
    for live in running:
        study.add_trial(create_trial(state=TrialState.RUNNING, params=live.params, distributions=live.distributions))
    return study


def finished(drawn: Answers, values: Sequence[float], constraints: Mapping[str, float]) -> FrozenTrial:
    """A trial of Optuna that has ended; constraints are above 0 where a limit is broken."""
    return create_trial(
        values=list(values), params=drawn.params, distributions=drawn.distributions, constraints=dict(constraints)
    )


def written(space: SearchSpace, config: Mapping[str, Any]) -> Answers:
    """A feasible configuration of the space, as a sampler of Optuna would have drawn it."""
    values = {**config, **space.shapes[architecture_of(dict(config))]}

    def answer(name: str, distribution: BaseDistribution) -> Any:
        return values[axis_of(name)]

    answers = Answers(answer)
    space.suggest(answers)
    return answers


def branches(space: SearchSpace) -> list[dict[str, Any]]:
    """Every method, with every name that its own axes list (a mapping): each is tried once before the model takes over.

    A model of a conditional space learns nothing about a branch that random start-up draws happened to miss, and names,
    unlike numbers, say nothing about one another.
    """
    found: list[dict[str, Any]] = []
    for method in space.axes["method"].choices:
        named = [axis.name for axis in axes_of(str(method)) if axis.kind is str]
        choices = itertools.product(*(space.axes[name].choices for name in named))
        found += [{"method": method, **dict(zip(named, values, strict=True))} for values in choices]
    return found
