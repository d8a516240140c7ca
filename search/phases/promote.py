"""A student of a search, distilled again: more tokens, several seeds, test scores, and an export.

The promoted study is a comparison of one configuration, in a folder of its own, with everything that a study has: it is
resumed, watched and reported like any other.
"""

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.phases.exporting import export_trial
from search.phases.inputs import read_inputs
from search.phases.runner import Driver, Outcome, run_study, stored_study
from search.phases.students import space_of
from search.phases.tested import score_tests
from search.spec.checks import check_all
from search.store.contents import refuse_changed, stored_table
from search.store.history import is_untrained
from search.store.parts import Store
from spaces.errors import SpecError, StillhouseError
from spaces.records.fronts import configuration
from spaces.records.rows import TrialRow
from spaces.records.shares import mean_share
from spaces.telling import Say
from trainables.models.loading import quiet_transformers
from trainables.models.teacher import read_facts

MORE_TOKENS = 10
"""Times the tokens of the search, unless told."""
SETTLED = ("rungs", "search", "comparison")
"""Sections that say how a search chooses: nothing is left to be chosen."""


@dataclass(frozen=True)
class Promotion:
    """How a student is distilled again."""

    train_tokens: int | None = None
    """Of each seed; None: MORE_TOKENS times the search's."""
    seeds: int = 3
    workers: int | None = None
    """Data-parallel workers of each seed; None: as in the search."""
    go_on: bool = False
    """From the trial's weights instead of from scratch; the optimiser starts afresh, with a warm-up of its own."""


def promote(folder: str, target: str, trial: int, promotion: Promotion, driver: Driver) -> Outcome:
    """Distil the configuration of a trial again and export the best seed to `target`/best."""
    say = driver.say
    store = Store.of(folder)
    row = finished_trial(store, trial)
    table = promoted_table(store, row, promotion)
    study = check_all(table, Path("/"), f"{target}/spec.toml", read_facts)  # what is refused is so before any scoring
    if sampled := stored_table(store)["corpus"].get("max_tokens"):
        say(f"it learns from all of the text, where the search had {sampled:,} tokens of it ([corpus] max_tokens)")
    score_search_time_self(folder, row, say)
    outcome = run_study(study, target, driver)
    if not outcome.ended:
        return outcome
    own = [each for each in outcome.rows if each.status == "finished"]
    if not own:
        raise StillhouseError(f"no seed of the promoted student finished; {target} holds the reasons")
    best = max(own, key=lambda each: each.rank_quality)
    written = export_trial(target, best.trial, f"{target}/best", say=say)
    tell_gain(folder, target, row, say)
    say(f"trial {best.trial}, the best of {len(own)} seeds on the dev splits, is written to {written}")
    return outcome


def finished_trial(store: Store, trial: int) -> TrialRow:
    """The row of a finished trial. Raises StillhouseError for any other."""
    rows = {row.trial: row for row in store.read_trials()}
    row = rows.get(trial)
    if row is not None and row.of_trial is not None:
        row = rows[row.of_trial]
    if row is None or row.status != "finished":
        known = f"there is no trial {trial}" if row is None else f"trial {trial} is {row.status}"
        raise StillhouseError(f"{known} in {store.folder}; only a finished one can be promoted")
    if is_untrained(row.config):
        trained = [each for each in rows.values() if each.status == "finished" and not is_untrained(each.config)]
        best = max(trained, key=lambda each: each.rank_quality, default=None)
        other = f"; the best that was trained: --trial {best.trial}" if best is not None else ""
        raise StillhouseError(
            f"trial {row.trial} of {store.folder} is a start that was never trained: nothing to train longer{other}"
        )
    return row


def promoted_table(store: Store, row: TrialRow, promotion: Promotion) -> dict[str, Any]:
    """The spec of the promoted study: the search's, with one configuration, all of the text, and more of everything."""
    table = stored_table(store)
    table = {name: section for name, section in table.items() if name not in SETTLED}
    space = tomllib.loads(space_of(row))
    table |= {"name": f"{table['name']}-promoted", **space, "comparison": {"seeds": promotion.seeds}}
    searched = table["budget"]["train_tokens"]
    tokens = promotion.train_tokens or MORE_TOKENS * searched
    if tokens < searched:
        raise SpecError(
            [f"--train-tokens must be at least the {searched:,} of the search, got {tokens:,}: a promoted student that "
             "trained less would be compared with one that trained more"]
        )  # fmt: skip
    table["budget"] = {"train_tokens": tokens}
    table["corpus"] = {key: value for key, value in table["corpus"].items() if key != "max_tokens"}
    if promotion.workers is not None:
        table["cluster"] = {**table.get("cluster", {}), "workers_per_trial": promotion.workers}
    if promotion.go_on:
        if not store.is_local or not row.student_path:
            raise StillhouseError(f"the weights of trial {row.trial} are not on this disk: promote it from scratch")
        table["training"] = {**table.get("training", {}), "start": store.path(row.student_path)}
    return table


def score_search_time_self(folder: str, row: TrialRow, say: Say) -> None:
    """Score the student of the search on the test splits, if the search has not: what the promoted one must beat.

    What the search was made of must still be there, whether its student is or not.

    Raises StillhouseError while the search runs, whose folder this writes to.
    """
    spec = stored_study(folder).spec
    store = Store.of(folder)
    with store.locked(say), quiet_transformers():
        inputs = read_inputs(spec, lambda line: None, lambda line: None)
        refuse_changed(store, inputs.contents, inputs.teacher.facts.digest, say)
        if not row.student_path:
            say(f"the weights of trial {row.trial} were not kept: its test scores stay unknown")
            return
        say(f"first the test scores of trial {row.trial} of the search, which the promoted student has to beat")
        folders = [str(path) for path in inputs.data.tasks.values()]
        score_tests(spec, store, [row], inputs.data.facts, str(inputs.data.corpus), folders, say)


def tell_gain(folder: str, target: str, row: TrialRow, say: Say) -> None:
    """The promoted student beside its search-time self, on dev and on test."""
    old, new = Store.of(folder), Store.of(target)
    seeds = [each for each in new.read_trials() if each.status == "finished"]
    same = functools.partial(configuration, axes=old.read_meta().aim.axes)
    own = [each for each in old.read_trials() if each.status == "finished" and same(each) == same(row)]
    before = [share for share in shares(old, [each.trial for each in own]) if share == share]
    known = [each.quality for each in own if each.quality is not None]
    after = shares(new, [each.trial for each in seeds])
    say(f"{'':13}  {'dev':>6}  {'test':>6}  tokens")
    mean, test = np.mean(known), np.mean(before) if before else float("nan")
    say(f"{'in the search':13}  {mean:6.3f}  {test:6.3f}  {row.train_tokens:,}{_seeds(known, before)}")
    for each, share in zip(seeds, after, strict=True):
        say(f"{f'seed {each.seed}':13}  {each.rank_quality:6.3f}  {share:6.3f}  {each.train_tokens:,}")


def _seeds(known: Sequence[float], tested: Sequence[float]) -> str:
    """How many seeds a mean is of, where they are several."""
    return f" (mean of {len(known)} seeds on dev, {len(tested)} on test)" if len(known) > 1 else ""


def shares(store: Store, trials: list[int]) -> list[float]:
    """Mean share recovered on the test splits of each trial, as quality is one; NaN where no task has one."""
    tested, weights = store.read_rows("test_scores"), store.read_meta().weights
    found = [{row["task"]: row["recovered"] for row in tested if row["trial"] == trial} for trial in trials]
    return [mean_share(each, weights) if each else float("nan") for each in found]
