"""The search itself: Ray Tune over lanes, from a plan to rows, until the budget is spent or somebody stops it."""

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray import tune

from search.proposals.asktell import Agenda, AskTell
from search.proposals.comparison import comparison
from search.proposals.inheritance import generation
from search.proposals.rungs import rung_tokens
from search.proposals.searched import Costs, Searched
from search.proposals.spending import Allowance
from search.proposals.warm_start import learn_from
from search.samplers.answers import completed
from search.spec.checks import Study
from search.spec.sections import StudySpec
from search.spec.writing import to_toml
from search.store.history import Ask, History
from search.store.keeping import Keeper
from search.store.parts import Store
from search.tune.cluster import Room, Sweeper
from search.tune.environment import output_to
from search.tune.loggers import loggers
from search.tune.progress import StudyProgress
from search.tune.searcher import RungScheduler, StudySearcher
from spaces.records.columns import axis_columns
from spaces.records.meta import StudyMeta
from spaces.records.objectives import aim_of
from spaces.records.rows import TrialRow
from spaces.records.state import GO_ON
from spaces.space.comparison import tuning_seed
from spaces.space.prior import read_prior
from spaces.space.search_space import SearchSpace, config_hash
from spaces.space.starts import MOST_STARTS
from spaces.telling import duration
from trainables.cache import cache_folder
from trainables.lanes.lane import lane_trainable
from trainables.lanes.messages import Ancestor, TrialJob
from trainables.lanes.settings import ClusterSpec, LaneSettings

LOST_LANES = 2
"""How often Tune starts a lane again that was lost with its node."""


@dataclass(frozen=True)
class Plan:
    """A study that is ready to run. Tests put a cheap `function` and invented costs here."""

    study: Study
    costs: Costs
    tasks: tuple[str, ...]
    job: TrialJob
    """What all jobs share; trial, config, seed and folders are put into it."""
    meta: StudyMeta
    """study.json."""
    cluster: ClusterSpec
    """That of the spec, with the GPUs that it may leave open."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Columns that all rows share."""
    function: str = LaneSettings.function
    variants: Mapping[str, Costs] = field(default_factory=dict)
    """By further precision of [deploy], the costs in it."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    rows: tuple[TrialRow, ...]
    ended: str
    """Why the search was over; empty when it was stopped before."""


def tune_study(
    plan: Plan,
    store: Store,
    say: Callable[[str], None] = print,
    agenda: Agenda | None = None,
) -> Outcome:
    """Run trials until the budget is spent, the space is used up, or somebody stops it; or what an agenda holds."""
    spec = plan.study.spec
    store.write_text("study.json", plan.meta.to_json())
    store.write_text("spec.toml", to_toml(spec))  # last: its presence makes the folder a study
    asktell = ask_tell(plan, store, say)
    if agenda is not None:
        asktell.narrow(agenda)
    done = sum(asktell.history.ran.values())
    if done or asktell.waiting:
        say(f"going on: {done} trials done before, {asktell.waiting} to be run again")
    if asktell.scope and agenda is None:
        say(asktell.scope)
    scratch = tempfile.mkdtemp(prefix="stillhouse-")
    try:
        with output_to(log_file(store)) as terminal:
            progress = StudyProgress(asktell, terminal)
            if agenda is None and spec.comparison.seeds is not None:
                asktell.narrow(comparison(spec, plan.study.space, progress.say))
            keeper = Keeper(asktell.history, asktell.aim, spec.storage.quota_gb, progress.say)
            keeper.tidy()
            make_job = job_maker(plan, asktell.history, keeper.started)
            searcher = StudySearcher(asktell, make_job, lambda row: _ended(row, keeper, progress), Room(plan.cluster))
            sweeper = Sweeper()
            callbacks = [progress, sweeper, *loggers(spec.logging.callbacks, spec.name, log_file(store).parent)]
            with progress, terminable():
                _fit(plan, searcher, callbacks, scratch)
            sweeper.finish()
        if searcher.fatal is not None:
            raise searcher.fatal
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _report_end(asktell, store, say, progress, "resume" if agenda is None else "confirm")
    return Outcome(tuple(asktell.tally.rows), asktell.tally.ended)


def ask_tell(plan: Plan, store: Store, say: Callable[[str], None]) -> AskTell:
    """The search of a plan, as far as the store has it."""
    spec = plan.study.spec
    final = 0 if spec.comparison.seeds is not None else round(spec.budget.final_share * spec.budget.trials)
    price = (spec.cluster.worker_price or 0.0) * spec.cluster.workers_per_trial
    allowance = Allowance(spec.budget.hours, spec.budget.cost, price)
    searched = Searched(
        plan.study.space,
        plan.costs,
        aim_of(
            spec.search.objectives,
            spec.search.constraints,
            [column.name for column in axis_columns(plan.study.space.own_axes)],
        ),
        seed=spec.seed,
        budget=spec.budget.trials - final,
        final=final,
        final_allowance=allowance if final else Allowance(),
        inherits=spec.search.inherit,
        train_tokens=spec.budget.train_tokens,
        schedule=spec.search.schedule,
        allowance=allowance.part((spec.budget.trials - final) / spec.budget.trials),
        stop_when=spec.search.stop_when,
        try_first=first_configs(spec, plan.study.space),
        prior=read_prior(plan.study.space, spec.search.prior)[0] if spec.search.prior else None,
        sampler=spec.search.sampler,
        candidates=spec.search.candidates,
        rung_tokens=rung_tokens(spec.rungs.first_tokens, spec.rungs.factor, spec.budget.train_tokens),
        rung_factor=spec.rungs.factor,
        protected=spec.rungs.protected,
        starts=wanted_starts(spec, plan.study.space, say),
        variants=plan.variants,
        precision=spec.deploy.first if plan.variants else None,
        earlier=tuple(learn_from(spec, plan.study.space, say)),
        constants=plan.constants,
        reference=plan.meta.teacher.costs,
    )
    return AskTell(store, searched)


def first_configs(spec: StudySpec, space: SearchSpace) -> tuple[Mapping[str, Any], ...]:
    """What the spec wants to be tried first; rules.py has seen to it that there is something to be had."""
    found = (completed(space, given, number) for number, given in enumerate(spec.search.try_first, 1))
    return tuple(config for config in found if config is not None)


def wanted_starts(spec: StudySpec, space: SearchSpace, say: Callable[[str], None]) -> tuple[Mapping[str, Any], ...]:
    """The starts that a search scores before it trains: all, unless they are too many. A comparison scores none."""
    if not spec.evaluation.starts or spec.comparison.seeds is not None:
        return ()
    starts = space.starts()
    if len(starts) > MOST_STARTS:
        say(
            f"{len(starts)} starts are more than the {MOST_STARTS} that are scored before any trial: each trial scores "
            "its own"
        )
        return ()
    return starts


def job_maker(plan: Plan, history: History, started: Callable[[int], None]) -> Callable[[Ask], TrialJob]:
    """What makes the job of a trial; `started` learns of each."""
    spec = plan.study.spec
    tokens = rung_tokens(spec.rungs.first_tokens, spec.rungs.factor, spec.budget.train_tokens)

    def make(ask: Ask) -> TrialJob:
        started(ask.trial)
        number = f"{ask.trial:05d}"
        is_tuning = ask.seed == tuning_seed(spec.seed)  # what is chosen by it must not know the test splits
        is_searched = ask.config_hash == config_hash(ask.config, spec.seed)
        return replace(
            plan.job,
            trial=ask.trial,
            config=ask.config,
            seed=ask.seed,
            ancestor=ancestor(ask, history),
            rungs=tokens if is_searched else (),  # a confirmation and what trains the front on run undisturbed
            test_floors={} if is_tuning else plan.job.test_floors,
            folder=history.store.uri("checkpoints", number),
            student_folder=history.store.uri("students", number),
        )

    return make


def ancestor(ask: Ask, history: History) -> Ancestor | None:
    """What a trial may go on from; None where it has no parent, or where the weights of that are gone."""
    if ask.parent is None or not (row := history.tally.by_trial[ask.parent]).student_path:
        return None
    return Ancestor(
        row.trial,
        history.store.uri("students", f"{row.trial:05d}"),
        row.line_tokens or 0,
        generation(history, ask.parent),
        is_given=ask.config_hash != config_hash(ask.config, ask.seed),
    )


def log_file(store: Store) -> Path:
    """The study's log; a study on an object store is logged in the cache folder."""
    if store.is_local:
        return Path(store.path("log.txt"))
    return cache_folder() / "logs" / f"{Path(store.root).name}.txt"


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, which Tune takes as: finish this step and stop."""

    def interrupt(number: int, frame: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: nobody sends us signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fit(plan: Plan, searcher: StudySearcher, callbacks: list[tune.Callback], scratch: str) -> None:
    tuner = tune.Tuner(
        lane_trainable(LaneSettings(plan.function, plan.cluster)),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=RungScheduler(searcher),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=callbacks,
            failure_config=tune.FailureConfig(max_failures=LOST_LANES),
        ),
    )
    with contextlib.suppress(KeyboardInterrupt):
        tuner.fit()


def _ended(row: TrialRow, keeper: Keeper, progress: StudyProgress) -> None:
    progress.row(row)
    keeper.ended(row)


def _report_end(
    asktell: AskTell, store: Store, say: Callable[[str], None], progress: StudyProgress, command: str
) -> None:
    """`command` is the one that goes on with what was stopped."""
    counts = ", ".join(
        f"{asktell.tally.count(status)} {status}"
        for status in ("finished", "stopped", "failed", "duplicate", "infeasible")
        if status != "stopped" or asktell.rungs.tokens
    )
    allowance = asktell.searched.allowance
    cost = f"; the workers have cost {allowance.cost_of(asktell.clock):,.5g}" if allowance.price else ""
    if asktell.tally.ended:
        store.remove("checkpoints")  # of stopped trials; should a larger budget promote one later, it starts over
        say(f"done: {asktell.tally.ended} ({counts}) after {duration(progress.elapsed_s)}{cost}")
    else:
        say(f"stopped: {counts}{cost}. {GO_ON}stillhouse {command} {store.folder}")
