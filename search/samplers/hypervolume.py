"""A sampler for Optuna that chooses, among many draws, the one that the front is expected to gain most from.

Drawing is cheap and a trial is dear. So a configuration is drawn by another sampler (TPE) and many more at random, a
Gaussian process says what each of them may bring, and the one with the largest expected hypervolume improvement is
tried. The space may be conditional: it is a function that asks a trial for values, as an objective does.

The search uses it like any other sampler; it needs nothing of the rest of stillhouse but the mathematics of
surrogate.py and of fronts.
"""

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.samplers.answers import Answer, Answers, at_random, holds
from search.samplers.context import Config, Evidence, Known, Seen, Weights
from search.samplers.promises import promises

Drawn = tuple[Config, Answers]
"""A configuration, and how it was drawn."""
LEAST = 4
"""Observations below which the draw of the other sampler is taken."""
MOST = 200
"""Observations that the model learns from, the latest; its cost grows with their cube."""


class Elsewhere(Exception):
    """A trial has no place in the space."""


class HypervolumeSampler(BaseSampler):
    """Expected hypervolume improvement among candidates of a conditional space, one objective being uncertain.

    Example:
        Accuracy must be measured; the size of a network is known before it is trained::

            def space(trial):
                kind = trial.suggest_categorical("kind", ["narrow", "wide"])
                config = {"kind": kind, "layers": trial.suggest_int("layers", 1, 8)}
                if kind == "wide":
                    config["expansion"] = trial.suggest_float("expansion", 1.0, 8.0, log=True)
                return config

            def objective(trial):
                config = space(trial)
                return accuracy(config), size(config)

            sampler = HypervolumeSampler(space, known=lambda config: [None, size(config)], seed=1)
            study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
            study.optimize(objective, n_trials=50)

    Args:
        space: asks a trial for values with its `suggest_` methods and returns the configuration, a dictionary of
            numbers and texts that the model compares configurations by. An absent key is a value of its own. It must
            ask for the same names as the objective does; what it does not ask for is drawn by `base`.
        known: configuration -> one value for each objective, in its own direction, None for those that a trial must
            run for. Without it all objectives must, and the model takes those that are not `uncertain` as expected.
        uncertain: index of the objective whose uncertainty counts.
        span: (a value of the uncertain objective that is worth nothing, one that is as good as can be), the scale on
            which the model measures noise: 0.02 to 0.1 of it. None: the worst and the best that have been seen.
        reference: the worst value of each objective that counts, None where there is no such value: then a little more
            than the worst in sight. That of the uncertain objective is not looked at.
        base: draws the first candidate, all trials while fewer than four have ended, and parameters that `space` does
            not ask for. None: TPE.
        candidates: configurations drawn for each trial, that of `base` included.
        allowed: whether a configuration may be tried; one that may not is tried only if all candidates are such.
            None: whatever has not been tried yet.
        prior: (configurations, observations so far) -> how much is made of what each promises, (N,). It should fade as
            observations come in (piBO, Hvarfner et al., arXiv:2204.11051). None: nothing is expected.
        evidence: what the model learns from. None: the trials of the study. Its `seen` may hold values at a share of
            the budget, which a study of Optuna with several objectives cannot keep.
        seed: of the candidates and of TPE; None: another in every process.

    Constraints are those of Optuna (`Trial.set_constraint`): a trial that breaks one is not on the front, but the model
    learns from it. Configurations that run count as if they had brought what is expected of them.

    Raises:
        ValueError: when the study has no objective of the index `uncertain`, or `candidates` is below 1.

    Sources: expected hypervolume improvement, Emmerich, Giannakoglou and Naujoks, IEEE Transactions on Evolutionary
    Computation 10(4), 2006; running trials, Ginsbourger, Le Riche and Carraro, "Kriging is well-suited to parallelize
    optimization", 2010; Gaussian processes and marginal likelihood, Rasmussen and Williams, 2006, chapters 2 and 5;
    TPE, Bergstra et al., NeurIPS 2011, in the form of Watanabe, arXiv:2304.11127.
    """

    def __init__(
        self,
        space: Callable[[Any], Config],
        *,
        known: Callable[[Config], Known] | None = None,
        uncertain: int = 0,
        span: tuple[float, float] | None = None,
        reference: Known | None = None,
        prior: Weights | None = None,
        base: BaseSampler | None = None,
        candidates: int = 32,
        allowed: Callable[[Config], bool] | None = None,
        evidence: Callable[[], Evidence] | None = None,
        seed: int | Sequence[int] | None = None,
    ) -> None:
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        self.space, self.known, self.uncertain, self.span = space, known, uncertain, span
        self.reference, self.candidates, self.allowed, self.evidence = reference, candidates, allowed, evidence
        self.prior = prior
        self.seed = _entropy() if seed is None else [seed] if isinstance(seed, int) else list(seed)
        self.base = base or joint_tpe(int(np.random.SeedSequence(self.seed).generate_state(1)[0]))
        self._asked = itertools.count()
        self._chosen: dict[int, dict[str, Any]] = {}

    def reseed_rng(self) -> None:
        """Draw something else from now on; Optuna asks for it in each thread of a parallel run."""
        self.seed = _entropy()
        self.base.reseed_rng()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Passed on to `base`."""
        self.base.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Passed on to `base`."""
        self.base.after_trial(study, trial, state, values)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters of the configuration that is chosen for a trial: which ones depends on their values."""
        if not 0 <= self.uncertain < len(study.directions):
            raise ValueError(f"uncertain is {self.uncertain}, but the study has {len(study.directions)} objectives")
        chosen = self._choose(study, trial)
        self._chosen[trial.number] = chosen.params
        return chosen.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The chosen configuration."""
        params = self._chosen.pop(trial.number)
        return {name: params[name] for name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the space did not ask for."""
        return self.base.sample_independent(study, trial, param_name, param_distribution)

    def _choose(self, study: optuna.Study, trial: FrozenTrial) -> Answers:
        """The candidate that promises most, or that of `base` when none may be tried."""
        first = self._by_base(study, trial)
        start = next(self._asked) * self.candidates
        drawn = [first]
        for number in range(start + 1, start + self.candidates):
            drawn.append(self._draw(at_random(np.random.default_rng([*self.seed, number]))))
        evidence = self.look(study, trial) if self.evidence is None else self.evidence()
        tried = [*(each.config for each in evidence.seen), *evidence.running] if self.allowed is None else []
        fresh: dict[Any, Drawn] = {}
        for config, answers in drawn:
            if config not in tried if self.allowed is None else self.allowed(config):
                fresh.setdefault(tuple(sorted(config.items())), (config, answers))
        if not fresh:
            return first[1]
        left = list(fresh.values())
        if len(left) == 1:
            return left[0][1]
        if len(evidence.seen) < LEAST:
            weights_N = [1.0] if self.prior is None else self.prior([config for config, _ in left], LEAST)
            return left[int(np.argmax(weights_N))][1]
        return left[self._best([config for config, _ in left], evidence, study.directions)][1]

    def _by_base(self, study: optuna.Study, trial: FrozenTrial) -> Drawn:
        """What the other sampler would have tried."""
        space = self.base.infer_relative_search_space(study, trial)
        params = self.base.sample_relative(study, trial, space)

        def answer(name: str, distribution: BaseDistribution) -> Any:
            if name in params and holds(distribution, params[name]):
                return params[name]
            return self.base.sample_independent(study, trial, name, distribution)

        return self._draw(answer)

    def _draw(self, answer: Answer) -> Drawn:
        answers = Answers(answer)
        return self.space(answers), answers

    def look(self, study: optuna.Study, trial: FrozenTrial) -> Evidence:
        """What the study has observed; the values of trials that broke a constraint are learned from as well."""
        seen: list[list[Seen]] = [[] for _ in study.directions]
        running, failed, front = [], [], []
        ran = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL)
        for each in study.get_trials(deepcopy=False, states=ran):
            config = self._config_of(each)
            if each.number == trial.number or config is None:
                continue
            if each.state is TrialState.RUNNING:
                running.append(config)
            elif each.state is TrialState.FAIL:
                failed.append(config)
            elif np.isfinite(each.values).all():
                for index, value in enumerate(each.values):
                    seen[index].append(Seen(config, 1.0, value))
                if all(excess <= 0 for excess in each.constraints.values()):
                    front.append(each.values)
        others = {} if self.known else {i: s[-MOST:] for i, s in enumerate(seen) if i != self.uncertain}
        return Evidence(seen[self.uncertain][-MOST:], running, front, failed[-MOST:], others)

    def _config_of(self, trial: FrozenTrial) -> Config | None:
        """The configuration of a trial; None when it has not drawn all parameters, or drew from another space."""

        def answer(name: str, distribution: BaseDistribution) -> Any:
            if not holds(distribution, trial.params.get(name)):
                raise Elsewhere
            return trial.params[name]

        try:
            return self._draw(answer)[0]
        except Elsewhere:
            return None

    def _best(self, configs: Sequence[Config], evidence: Evidence, directions: Sequence[StudyDirection]) -> int:
        """Index of the configuration that promises most."""
        signs = [-1 if direction is StudyDirection.MAXIMIZE else 1 for direction in directions]
        qualities = [each.quality for each in evidence.seen]
        ends = (max(qualities), min(qualities))
        span = self.span or (ends if signs[self.uncertain] > 0 else ends[::-1])
        unknown = [None] * len(signs)
        known = self.known or (lambda config: unknown)
        gains_N = promises(
            configs,
            [known(config) for config in configs],
            evidence,
            [known(config) for config in evidence.running],
            signs,
            self.reference or unknown,
            self.uncertain,
            span,
        )
        if self.prior is not None:
            gains_N = gains_N * self.prior(configs, len(evidence.seen))
        return int(np.argmax(gains_N))


def joint_tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator that models parameters jointly, per branch of a conditional space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _entropy() -> list[int]:
    return np.random.SeedSequence().generate_state(4).tolist()
