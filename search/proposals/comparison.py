"""A comparative study as the search runs it: first the learning rates, then everything, seed by seed."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence

from search.proposals.asktell import Agenda, AskTell
from search.spec.sections import StudySpec
from search.store.history import Wanted
from spaces.records.meta import ComparisonMeta
from spaces.records.rows import TrialRow
from spaces.space.comparison import Kind, compared_configs, count_trials, kind_of, seeds_of, tuning_configs, tuning_seed
from spaces.space.search_space import SearchSpace
from spaces.students.architecture import architecture_of


def comparison(spec: StudySpec, space: SearchSpace, say: Callable[[str], None]) -> Agenda:
    """The agenda of a comparison: the trials that choose learning rates, and when they have run, all others.

    All configurations of one seed come before those of the next, so that a study stopped early is a smaller study.
    """
    seeds = seeds_of(spec.seed, spec.comparison.seeds or 1)
    tuning = [Wanted(config, tuning_seed(spec.seed)) for config in tuning_configs(space, spec.comparison.tune_shape)]
    _, to_come = count_trials(space, len(seeds))
    say_once = functools.cache(say)

    def agenda(asktell: AskTell) -> tuple[Sequence[Wanted], int]:
        if len(asktell.history.ended(tuning)) < len(tuning):
            return tuning, to_come
        rates = chosen_rates(asktell.tally.rows, space, spec.seed)
        if tuning:
            chosen = ", ".join(f"{method} ({start}) {rate:g}" for (method, start), rate in rates.items())
            say_once(f"learning rates chosen under seed {tuning_seed(spec.seed)}: {chosen}")
        return [Wanted(config, seed) for seed in seeds for config in compared_configs(space, rates)], 0

    return agenda


def chosen_rates(rows: Iterable[TrialRow], space: SearchSpace, seed: int) -> dict[Kind, float]:
    """The learning rate of each kind, from the finished rows of the tuning seed; the lowest where nothing finished."""
    lowest = min(float(rate) for rate in space.axes["learning_rate"].choices)
    best: dict[Kind, tuple[float, float]] = {kind_of(c): (-math.inf, lowest) for c in space.enumerate()}
    for row in rows:
        if row.seed == tuning_seed(seed) and row.status == "finished" and kind_of(row.config) in best:
            kind, rate = kind_of(row.config), float(row.config["learning_rate"])
            best[kind] = max(best[kind], (row.rank_quality, -rate))
    return {kind: abs(rate) for kind, (_, rate) in best.items()}


def all_seeds(spec: StudySpec) -> list[int]:
    """The seeds of the trials that the study is sure to run."""
    if spec.comparison.seeds is None:
        return [spec.seed]
    return [*seeds_of(spec.seed, spec.comparison.seeds), tuning_seed(spec.seed)]


def comparison_meta(spec: StudySpec, space: SearchSpace) -> ComparisonMeta | None:
    """What study.json says of a comparison; None for a search."""
    if spec.comparison.seeds is None:
        return None
    tuning = tuning_configs(space, spec.comparison.tune_shape)
    return ComparisonMeta(
        seeds=tuple(seeds_of(spec.seed, spec.comparison.seeds)),
        tuning_seed=tuning_seed(spec.seed) if tuning else None,
        tuned_on=tuple(sorted({architecture_of(config).name for config in tuning})),
        learning_rates=tuple(sorted({float(config["learning_rate"]) for config in tuning})),
    )
