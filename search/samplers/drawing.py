"""How each sampler draws, and the one door to all of them.

Every sampler is made anew for every draw and sees a study that was built from the history, so that a resume draws what
an undisturbed run would have drawn.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.samplers.context import Context
from search.samplers.hypervolume import HypervolumeSampler, joint_tpe
from search.samplers.registry import SAMPLERS

POPULATION = 20
"""Small, since trials are dear."""


def sampler_of(name: str, seed: Sequence[int], context: Context) -> BaseSampler:
    """The sampler of this name; with several candidates our model chooses between its draw and random ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        base = SAMPLERS[name](int(np.random.SeedSequence(list(seed)).generate_state(1)[0]), context)
        if context.fixed:
            base = optuna.samplers.PartialFixedSampler(dict(context.fixed), base)
    if context.candidates == 1:
        return base
    return HypervolumeSampler(
        context.space,
        known=context.known,
        allowed=context.allowed,
        evidence=context.evidence,
        span=(0.0, 1.0),
        reference=context.reference,
        prior=context.prior,
        candidates=context.candidates,
        base=base,
        seed=seed,
    )


def tpe(seed: int, context: Context) -> BaseSampler:
    """Tree-structured Parzen estimator."""
    return joint_tpe(seed)


def nsga2(seed: int, context: Context) -> BaseSampler:
    """Genetic search by non-dominated sorting."""
    return GenerationsByOrder(seed=seed, population_size=POPULATION)


def gp(seed: int, context: Context) -> BaseSampler:
    """Gaussian process with an expected improvement of the hypervolume; for spaces without axes that come and go."""
    return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)


def random(seed: int, context: Context) -> BaseSampler:
    """Independent draws: the baseline."""
    return optuna.samplers.RandomSampler(seed=seed)


class GenerationsByOrder(optuna.samplers.NSGAIISampler):
    """NSGA-II for a study whose trials it has not drawn itself: their generations follow from their order."""

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """The generation of the next trial: those before it are full."""
        return len(_complete(study)) // POPULATION

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The finished trials of a generation."""
        return _complete(study)[generation * POPULATION : (generation + 1) * POPULATION]


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
