"""A model of quality over configurations and token counts, and what it expects configurations to add to the front.

Quality is the only thing that a trial must be run for: costs are known before. So each draw of the sampler is judged by
the hypervolume it is expected to add to the front (Emmerich et al. 2006), a closed form for one uncertain objective;
a draw that a cheaper and better trial already beats promises nothing.

Shapes: N candidates, M members of the front, S observations, F features, K costs.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import erfc
from threadpoolctl import ThreadpoolController

from search.samplers.context import Seen
from spaces.records.fronts import hypervolume, non_dominated

REACHES, NOISES, SLOPE = (0.5, 1.0, 2.0, 4.0), (0.02, 0.05, 0.1), 0.05
"""Values that the likelihood chooses from (distance; quality), and the prior variance of the slope per log token."""
Further = tuple[np.ndarray, float]
"""Costs of a further point that each configuration brings, and what its quality is lower by, the same for all."""
OWN = 0.2
"""Share of the variance of noise that is a trial's own, the same at all its rungs; the rest is of each score."""
ENOUGH = 20
"""Trials that were seen at a rung and at their end: with so many, the model learns from ends alone."""
FAILURES_REACH, FAILURES_NOISE, LEAST_CHANCE = 0.5, 0.25, 0.001
"""Of the model of failures: a distance, the variance of what chance does, and what is left to what always failed."""
SIZE = 0.25
"""Prior variance of a trend of quality with size, so that a few bad trials of one width do not close it for good."""


def expected_gains(
    configs: Sequence[Mapping[str, Any]],
    costs_NK: np.ndarray,
    seen: Sequence[Seen],
    running: Sequence[Mapping[str, Any]],
    running_RK: np.ndarray,
    front_MK: np.ndarray,
    quality_column: int,
    reference_K: np.ndarray,
    ends_E: np.ndarray | None = None,
    further: Sequence[Further] = (),
) -> np.ndarray:
    """Expected hypervolume improvement of each configuration at the share at which it ends, (N,).

    ends_E: these shares, of the configurations and then of those that run; None: the full budget of each. further: what
    each brings beside its own point, in the same order.

    Running trials count as if they had ended with the quality that is expected of them (Ginsbourger et al. 2010, the
    "kriging believer"), so that several lanes do not all try the same. The quality column of all costs but the front's
    is not looked at; `reference_K` has the other columns only, NaN where nothing is known to measure a cost by.
    """
    ends_E = np.ones(len(configs) + len(running)) if ends_E is None else ends_E
    seen = trusted(seen)
    with threads().limit(limits=1):  # the matrices are small, and the other cores are training
        believed: list[Seen] = []
        if running:
            ends_R = ends_E[len(configs) :]
            expected_R, _ = predict(running, seen, ends_R)
            believed = [Seen(*each) for each in zip(running, ends_R.tolist(), expected_R.tolist(), strict=True)]
            running_RK = running_RK.copy()
            running_RK[:, quality_column] = -expected_R
            front_MK = np.concatenate([front_MK, running_RK])
            for costs_EK, loss in further:
                beside_RK = costs_EK[len(configs) :].copy()
                beside_RK[:, quality_column] = loss - expected_R
                front_MK = np.concatenate([front_MK, beside_RK])
        mean_N, sd_N = predict(configs, [*seen, *believed], ends_E[: len(configs)])
    costs_of_N, costs_of_M = np.delete(costs_NK, quality_column, 1), np.delete(front_MK, quality_column, 1)
    beside = [(np.delete(costs_EK[: len(configs)], quality_column, 1), loss) for costs_EK, loss in further]
    return improvement(mean_N, sd_N, costs_of_N, -front_MK[:, quality_column], costs_of_M, reference_K, beside)


def trusted(seen: Sequence[Seen]) -> Sequence[Seen]:
    """What the model is fitted to: all, or the ends of trials alone, once ENOUGH of them were seen at a rung as well.

    Early scores tell which kinds of configurations are good. Which of the good ones is the best they hardly tell, and
    one with a bad start would be left for good.
    """
    early = {frozenset(each.config.items()) for each in seen if each.share < 1.0}
    ends = [each for each in seen if each.share >= 1.0]
    return ends if sum(frozenset(each.config.items()) in early for each in ends) >= ENOUGH else seen


@cache
def threads() -> ThreadpoolController:
    """The libraries of linear algebra in this process; looking for them takes longer than a prediction."""
    return ThreadpoolController()


def predict(
    configs: Sequence[Mapping[str, Any]], seen: Sequence[Seen], ends_N: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of what configurations will score at these shares; None: at the full budget of each.

    A Gaussian process over quality(c, s) = f(c) + g(c) log(1 / s) + noise, s the share of the budget: a level for each
    configuration and what it lacks for every factor of tokens it has not seen, both smooth over configurations. Noise
    is partly the trial's own, the same at all its rungs, and counts in what is predicted: a score is what becomes a
    point of the front, luck included. How far configurations reach and how loud the noise is are chosen among few
    values by marginal likelihood, which few observations can decide.
    """
    everything = [*(each.config for each in seen), *configs]
    num_seen = len(seen)
    apart_SN, alone_SN = closeness(distances(everything), num_seen, len(everything))
    quality_S = np.array([each.quality for each in seen])
    lack_S = np.log(1.0 / np.array([each.share for each in seen]))
    lack_N = np.zeros(len(configs)) if ends_N is None else np.log(1.0 / ends_N)
    same_SS = apart_SN[:, :num_seen] == 0
    centre, scale = float(np.median(quality_S)), max(float(np.std(quality_S)), 0.05)
    size_N = sizes(everything)
    target_S = (quality_S - centre) / scale
    jitter_SS = OWN * same_SS + (1 - OWN + 1e-6) * np.eye(num_seen)
    best: tuple[float, Any] = (-np.inf, None)
    for reach in REACHES:
        level_SN = likeness(apart_SN, alone_SN, reach) + SIZE * np.outer(size_N[:num_seen], size_N)
        own_SS = level_SN[:, :num_seen]
        smooth_SS = own_SS + np.outer(lack_S, lack_S) * SLOPE * (0.5 + 0.5 * own_SS) + 1e-8 * np.eye(num_seen)
        for noise in NOISES:
            factor = np.linalg.cholesky(smooth_SS + (noise / scale) ** 2 * jitter_SS)
            white_S = solve_triangular(factor, target_S, lower=True)
            likelihood = -0.5 * white_S @ white_S - np.log(np.diag(factor)).sum()
            if likelihood > best[0]:
                best = likelihood, (level_SN, factor, white_S, (noise / scale) ** 2)
    level_SN, factor, white_S, loud = best[1]
    wanted_SN = level_SN[:, num_seen:]
    own_N = 2.0 + SIZE * size_N[num_seen:] ** 2
    if lack_N.any():
        wanted_SN = wanted_SN + np.outer(lack_S, lack_N) * SLOPE * (0.5 + 0.5 * wanted_SN)
        own_N = own_N + lack_N**2 * SLOPE * (0.5 + 0.5 * own_N)
    wanted_SN = wanted_SN + OWN * loud * (apart_SN[:, num_seen:] == 0)
    own_N = own_N + loud
    cross_SN = solve_triangular(factor, wanted_SN, lower=True)
    variance_N = own_N - (cross_SN**2).sum(axis=0)
    return centre + scale * (cross_SN.T @ white_S), scale * np.sqrt(np.maximum(variance_N, 1e-10))


def likeness(apart_SN: np.ndarray, alone_SN: np.ndarray, reach: float) -> np.ndarray:
    """Prior covariance of what two configurations lead to: a common part, one for each axis alone, one for all axes."""
    return 0.5 + alone_SN + 0.5 * np.exp(-apart_SN / reach)


def chances(
    configs: Sequence[Mapping[str, Any]], ended: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]
) -> np.ndarray:
    """How likely each configuration is to come to an end, (N,), by what became of those that were tried.

    A Gaussian process again, of 1 for what ended and 0 for what failed, 1 where nothing is known (classification by
    least squares, Rasmussen and Williams 2006, section 6.5). Improvement times such a chance: Gardner et al. 2014.
    """
    if not failed:
        return np.ones(len(configs))
    tried, everything = len(ended) + len(failed), [*ended, *failed, *configs]
    with threads().limit(limits=1):
        like_TN = likeness(*closeness(distances(everything), tried, len(everything)), FAILURES_REACH)
        loss_T = np.repeat([0.0, 1.0], [len(ended), len(failed)])
        weights_T = np.linalg.solve(like_TN[:, :tried] + FAILURES_NOISE * np.eye(tried), loss_T)
    return np.clip(1.0 - weights_T @ like_TN[:, tried:], LEAST_CHANCE, 1.0)


def expected(configs: Sequence[Mapping[str, Any]], seen: Sequence[Seen]) -> np.ndarray:
    """Means at the full budget of a quantity in any unit, (N,)."""
    values = [each.quality for each in seen]
    low, width = min(values), (max(values) - min(values)) or 1.0
    with threads().limit(limits=1):
        mean_N, _ = predict(configs, [Seen(each.config, each.share, (each.quality - low) / width) for each in seen])
    return low + width * mean_N


def sizes(configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Logarithm of layers x width^2, about what parameters grow with: -1/2 (smallest) to 1/2; 0 if all are equal."""
    log_N = np.array([_log(config.get("num_layers")) + 2 * _log(config.get("hidden_size")) for config in configs])
    span = np.ptp(log_N)
    return (log_N - (log_N.max() + log_N.min()) / 2) / span if span > 0 else np.zeros(len(configs))


def _log(value: Any) -> float:
    """0 for what is missing or has none."""
    return math.log(value) if isinstance(value, int | float) and value > 0 else 0.0


def distances(configs: Sequence[Mapping[str, Any]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each axis on which they differ, squared distances (V, V) between the V values it takes, 0 to 1, and which of
    these each configuration has (N): of logarithms over their range, or whether two texts differ.

    An axis that only one of two configurations has is as far as can be; one that neither has is no distance.
    """
    axes = []
    for name in sorted({name for config in configs for name in config}):
        values = [config.get(name) for config in configs]
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
        if len(numbers) == 1:
            continue
        apart_VV = 1.0 - np.eye(len(numbers))
        known = [value for value in numbers if value is not None]
        if not any(isinstance(value, str) for value in known):
            at_V, at = np.array(known, dtype=float), [numbers[value] for value in known]
            at_V = np.log(at_V) if (at_V > 0).all() else at_V
            apart_VV[np.ix_(at, at)] = ((at_V[:, None] - at_V) / (np.ptp(at_V) or 1.0)) ** 2
        axes.append((apart_VV, np.array([numbers[value] for value in values])))
    return axes


def closeness(axes: Sequence[tuple[np.ndarray, np.ndarray]], rows: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(sum of the distances over axes, mean over axes of exp(-2 distance)) from the first `rows` configurations to all
    N = `number`, each (rows, N): looked up, not computed, since most axes take few values."""
    apart_RN, alone_RN = np.zeros((rows, number)), np.zeros((rows, number))
    for apart_VV, value_N in axes:
        pair_RN = value_N[:rows, None] * len(apart_VV) + value_N
        apart_RN += apart_VV.take(pair_RN)
        alone_RN += np.exp(-2.0 * apart_VV).take(pair_RN)
    return apart_RN, alone_RN / len(axes) if axes else np.ones_like(alone_RN)


def improvement(
    mean_N: np.ndarray,
    sd_N: np.ndarray,
    costs_NK: np.ndarray,
    quality_M: np.ndarray,
    front_MK: np.ndarray,
    reference_K: np.ndarray,
    further: Sequence[Further] = (),
) -> np.ndarray:
    """Expected hypervolume improvement of candidates with known costs and normal qualities.

    Volume counts from the floor's quality and the reference costs (the teacher's) on; where the reference is NaN, from
    a little more than the largest cost of all. The volume a candidate adds grows with its quality at a rate that is
    constant between two qualities of the front: the part of its box in cost space that no member of at least this
    quality covers. A candidate of several points (`further`, costs (N, K)) adds the union of their boxes: the best in
    quality first, and of each next one what those before it leave.
    """
    points = sorted([(costs_NK, 0.0), *further], key=lambda each: each[1])
    costs_NPK, loss_P = np.stack([costs for costs, _ in points], axis=1), np.array([loss for _, loss in points])
    everything = np.concatenate([*(costs for costs, _ in points), front_MK])
    known_K = np.isfinite(everything).all(axis=0)
    costs_NPK, front_MK, everything = costs_NPK[..., known_K], front_MK[:, known_K], everything[:, known_K]
    high_K = np.maximum(everything.max(axis=0), 1e-12) * 1.1
    high_K = np.where(np.isfinite(reference_K[known_K]), reference_K[known_K], high_K)
    costs_NPK, front_MK = costs_NPK / high_K, front_MK / high_K
    kept = non_dominated(np.column_stack([-quality_M, front_MK])) if len(quality_M) else np.zeros(0, dtype=bool)
    quality_M, front_MK = quality_M[kept], front_MK[kept]
    reference = [1.0] * costs_NPK.shape[-1]

    def volume(boxes: np.ndarray) -> float:
        return hypervolume(boxes, reference) if reference else float(len(boxes) > 0)

    levels = np.concatenate([[0.0], np.sort(quality_M[quality_M > 0]), [np.inf]])
    number = len(mean_N)
    few_UPK, which_N = np.unique(costs_NPK, axis=0, return_inverse=True) if reference else (costs_NPK[:1], [0] * number)
    mean_PN, gains_N = mean_N - loss_P[:, None], np.zeros(number)
    above_PN = expected_excess(mean_PN, sd_N, levels[0])
    for high in levels[1:]:
        rivals, below_PN = front_MK[quality_M >= high] if high < np.inf else front_MK[:0], above_PN
        above_PN = expected_excess(mean_PN, sd_N, high)
        covered = volume(rivals)
        volumes_UP = [
            [covered, *(volume(np.vstack([rivals, costs_PK[: last + 1]])) for last in range(len(points)))]
            for costs_PK in few_UPK
        ]
        gains_N += (np.diff(volumes_UP, axis=1)[which_N].T * (below_PN - above_PN)).sum(axis=0)
    return gains_N


def expected_excess(mean_N: np.ndarray, sd_N: np.ndarray, level: float) -> np.ndarray:
    """E[max(0, q - level)] of normal q."""
    if level == np.inf:
        return np.zeros_like(mean_N)
    z_N = (mean_N - level) / sd_N
    return (mean_N - level) * 0.5 * erfc(-z_N / math.sqrt(2)) + sd_N * np.exp(-z_N * z_N / 2) / math.sqrt(2 * math.pi)
