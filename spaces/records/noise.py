"""How far a number can be trusted: the noise between seeds, intervals, and what lies within noise of what.

The noise of a study is the standard deviation of quality between seeds of one configuration, pooled over all
configurations that ran with two or more. Two or three seeds alone say little about their spread; pooled over several
configurations they say enough. An interval is the bootstrap of the mean over the pooled residuals (Davison and Hinkley
1997, section 6.2), smoothed, since few residuals have no tails (ibid., section 3.4), and widened by Student's t over
the normal quantile, since they understate the spread (Hesterberg 2015, arXiv:1411.5279). Numbers only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

LEVEL = 0.95
RESAMPLES = 4000


@dataclass(frozen=True)
class Noise:
    """The pooled spread of repeated measurements."""

    std: float
    """share of the gap, NaN when nothing was repeated"""
    dof: int
    """degrees of freedom: repeats beyond the first"""
    groups: int
    """configurations with two seeds or more"""
    residuals: tuple[float, ...] = field(repr=False, default=())
    """deviations from the mean of their group, each inflated by sqrt(n / (n - 1))"""

    @property
    def known(self) -> bool:
        """Whether anything was repeated."""
        return self.dof > 0

    def interval(self, mean: float, count: int) -> tuple[float, float]:
        """95 % interval of the expectation, from the mean of `count` measurements; NaN when nothing was repeated."""
        below, above = self.errors(count)
        return mean - above, mean - below

    def errors(self, count: int) -> tuple[float, float]:
        """How far below (negative) and above the expectation a mean of `count` falls: its bootstrap, 95 %."""
        if not self.known:
            return float("nan"), float("nan")
        rng = np.random.default_rng([len(self.residuals), count])
        residuals_N = np.array(self.residuals)
        bandwidth = len(residuals_N) ** -0.2
        means_R = np.zeros(RESAMPLES)
        for _ in range(count):
            drawn_R = residuals_N[rng.integers(0, len(residuals_N), RESAMPLES)]
            smooth_R = rng.normal(0, self.std * bandwidth, RESAMPLES)
            means_R += (drawn_R + smooth_R) / (1 + bandwidth**2) ** 0.5  # the spread stays that of the residuals
        low, high = np.quantile(means_R / count, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        wider = student_t(self.dof) / student_t(10**9)
        return float(low * wider), float(high * wider)

    def same(self, first: float, first_count: int, others_N: np.ndarray, counts_N: np.ndarray) -> np.ndarray:
        """Mask of the means that differ from the first by less than noise explains (95 %); none when it is unknown."""
        if not self.known:
            return np.zeros(len(others_N), dtype=bool)
        errors_N = self.std * np.sqrt(1 / first_count + 1 / np.asarray(counts_N))
        return np.abs(np.asarray(others_N) - first) <= student_t(self.dof) * errors_N


def pooled_noise(groups: Iterable[np.ndarray]) -> Noise:
    """The noise within groups of repeated measurements; groups of one, and what is not finite, say nothing."""
    residuals: list[np.ndarray] = []
    squares, dof = 0.0, 0
    for group in groups:
        values_N = np.asarray(group, dtype=float)
        values_N = values_N[np.isfinite(values_N)]
        count = len(values_N)
        if count < 2:
            continue
        deviations_N = values_N - values_N.mean()
        squares += float((deviations_N**2).sum())
        dof += count - 1
        residuals.append(deviations_N * (count / (count - 1)) ** 0.5)
    if not dof:
        return Noise(float("nan"), 0, 0)
    return Noise((squares / dof) ** 0.5, dof, len(residuals), tuple(np.concatenate(residuals).tolist()))


def mean_interval(values_N: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of independent values; NaN below two of them."""
    values_N = np.asarray(values_N, dtype=float)
    return pooled_noise([values_N]).interval(float(np.mean(values_N)), len(values_N))


@cache
def student_t(dof: int) -> float:
    """The two-sided 95 % quantile of Student's t."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, dof))
