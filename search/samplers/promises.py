"""What configurations promise: the hypervolume that each is expected to add to the front of a study."""

from collections.abc import Sequence

import numpy as np

from search.samplers.context import Config, Evidence, Known, Seen
from search.samplers.surrogate import chances, expected, expected_gains


def promises(
    configs: Sequence[Config],
    known: Sequence[Known],
    evidence: Evidence,
    known_of_running: Sequence[Known],
    signs: Sequence[int],
    reference: Known,
    uncertain: int,
    span: tuple[float, float],
) -> np.ndarray:
    """Expected hypervolume improvement of each configuration at the end of its training, (N,), times the chance that
    it gets there.

    known: the objectives of each configuration as far as they are known, in the study's own directions; those that run
    have theirs. signs: 1 for an objective that is minimised, -1 for one that is maximised. reference: as in `Context`.
    uncertain: index of the objective that the model predicts. span: its values that count as 0 and as 1.
    """
    sign_K = np.array(signs, dtype=float)
    low, width = span[0], (span[1] - span[0]) or 1.0

    def costs_of(rows: Sequence[Known]) -> np.ndarray:
        numbers = [[np.nan if value is None else value for value in row] for row in rows]
        return np.array(numbers, dtype=float).reshape(-1, len(sign_K)) * sign_K

    everything = [*configs, *evidence.running]
    costs_EK = costs_of([*known, *known_of_running])
    for index, others in evidence.others.items():
        costs_EK[:, index] = expected(everything, others) * sign_K[index]
    costs_EK[:, uncertain] = 0.0
    further = [(costs_of([each.known(config) for config in everything]), each.shift) for each in evidence.beside]
    for further_EK, _ in further:
        further_EK[:, uncertain] = 0.0
    front_MK = costs_of(evidence.front)
    front_MK[:, uncertain] = -(np.array([row[uncertain] for row in evidence.front]) - low) / width
    reference_K = costs_of([reference])[0]
    # Volumes count from the reference down to 0, so what is negative (as all that is maximised) is moved up.
    ends_E = [1.0 if evidence.end_of is None else evidence.end_of(config) for config in everything]
    every_point = [costs_EK, *(further_EK for further_EK, _ in further), front_MK]
    floor_K = np.fmin.reduce(np.vstack(every_point), axis=0, initial=0.0)
    floor_K[uncertain] = 0.0
    costs_EK, front_MK, reference_K = costs_EK - floor_K, front_MK - floor_K, reference_K - floor_K
    gains_N = expected_gains(
        configs,
        costs_EK[: len(configs)],
        [Seen(each.config, each.share, (each.quality - low) / width) for each in evidence.seen],
        evidence.running,
        costs_EK[len(configs) :],
        front_MK,
        uncertain,
        np.delete(reference_K, uncertain),
        np.array(ends_E),
        [(further_EK - floor_K, -shift / width) for further_EK, shift in further],
    )
    ended = [each.config for each in evidence.seen if each.share >= 1.0]
    return gains_N * chances(configs, ended, evidence.failed)
