"""A model of quality over configurations and token counts, and the choice among draws that it makes.

Quality is the only thing that a trial must be run for: costs are known before. So each draw of the sampler is judged by
the hypervolume it is expected to add to the front (Emmerich et al. 2006), a closed form for one uncertain objective;
a draw that a cheaper and better trial already beats promises nothing.

Shapes: N candidates, M members of the front, S observations, F features, K costs.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spaces.dominance import hypervolume, non_dominated

LEAST = 8
"""Full-budget observations below which the sampler's own first draw is taken."""


@dataclass(frozen=True)
class Seen:
    """The quality of a configuration after a share of the budget."""

    config: Mapping[str, Any]
    share: float
    quality: float


def choose_candidate(
    configs: Sequence[Mapping[str, Any]],
    costs_NK: np.ndarray,
    seen: Sequence[Seen],
    front_MK: np.ndarray,
    quality_column: int,
    seed: int,
) -> int:
    """Index of the configuration with the largest expected hypervolume improvement."""
    if sum(each.share >= 1.0 for each in seen) < LEAST:
        return 0
    mean_N, sd_N = predict(configs, seen, seed)
    costs_of_N, costs_of_M = np.delete(costs_NK, quality_column, 1), np.delete(front_MK, quality_column, 1)
    gains = improvement(mean_N, sd_N, costs_of_N, -front_MK[:, quality_column], costs_of_M)
    return int(np.argmax(gains))


def predict(configs: Sequence[Mapping[str, Any]], seen: Sequence[Seen], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of the quality at the full budget."""
    from sklearn.ensemble import ExtraTreesRegressor

    rows = [*((each.config, each.share) for each in seen), *((config, 1.0) for config in configs)]
    x_SF = features(rows)
    forest = ExtraTreesRegressor(200, min_samples_leaf=2, random_state=seed % 2**31)
    forest.fit(x_SF[: len(seen)], [each.quality for each in seen])
    votes = np.stack([tree.predict(x_SF[len(seen) :]) for tree in forest.estimators_])
    return votes.mean(axis=0), votes.std(axis=0) + 1e-6


def features(rows: Sequence[tuple[Mapping[str, Any], float]]) -> np.ndarray:
    """Numbers as their logarithms, texts as one column per value; an axis that a configuration lacks is 0."""
    names = sorted({name for config, _ in rows for name in config})
    columns: list[list[float]] = [[math.log(share) for _, share in rows]]
    for name in names:
        values = [config.get(name) for config, _ in rows]
        if any(isinstance(value, str) for value in values):
            columns += [[float(value == text) for value in values] for text in sorted({v for v in values if v})]
        else:
            columns.append([math.log(value) + 1.0 if value else 0.0 for value in values])
    return np.array(columns, dtype=float).T


def improvement(
    mean_N: np.ndarray, sd_N: np.ndarray, costs_NK: np.ndarray, quality_M: np.ndarray, front_MK: np.ndarray
) -> np.ndarray:
    """Expected hypervolume improvement of candidates with known costs and normal qualities, over the floor's quality.

    The volume a candidate adds grows with its quality at a rate that is constant between two qualities of the front:
    the part of its box in cost space that no member of at least this quality covers.
    """
    everything = np.concatenate([costs_NK, front_MK])
    known_K = np.isfinite(everything).all(axis=0)
    costs_NK, front_MK, everything = costs_NK[:, known_K], front_MK[:, known_K], everything[:, known_K]
    high_K = np.maximum(everything.max(axis=0), 1e-12) * 1.1
    costs_NK, front_MK = costs_NK / high_K, front_MK / high_K
    kept = non_dominated(np.column_stack([-quality_M, front_MK])) if len(quality_M) else np.zeros(0, dtype=bool)
    quality_M, front_MK = quality_M[kept], front_MK[kept]
    reference = [1.0] * costs_NK.shape[1]
    levels = np.concatenate([[0.0], np.sort(quality_M[quality_M > 0]), [np.inf]])
    gains_N = np.zeros(len(mean_N))
    for low, high in itertools.pairwise(levels):
        rivals = front_MK[quality_M >= high] if high < np.inf else front_MK[:0]
        covered = hypervolume(rivals, reference) if reference else float(len(rivals) > 0)
        for i, cost_K in enumerate(costs_NK):
            rate = (hypervolume(np.vstack([rivals, cost_K]), reference) if reference else 1.0) - covered
            if rate > 1e-12:
                gains_N[i] += rate * (
                    expected_excess(mean_N[i], sd_N[i], low) - expected_excess(mean_N[i], sd_N[i], high)
                )
    return gains_N


def expected_excess(mean: float, sd: float, level: float) -> float:
    """E[max(0, q - level)] of a normal q."""
    if level == np.inf:
        return 0.0
    z = (mean - level) / sd
    return (mean - level) * 0.5 * math.erfc(-z / math.sqrt(2)) + sd * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
