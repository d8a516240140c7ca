"""A study from its spec to its results: prepare, tune, finish.

The study folder is the one truth. A run on a folder that already holds the same study goes on with it, whatever ended
the last run: a finished trial stays, an asked one is run again under its number, from its own checkpoint if it has one.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import shutil
import signal
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from search.cluster import Room, Sweeper, cluster
from search.comparison import comparison
from search.environment import output_to
from search.history import Ask
from search.keeping import Keeper
from search.languages import languages_of
from search.loggers import loggers
from search.memory import Costs
from search.progress import StudyProgress, duration
from search.sampler import Asks, AskTell, Wanted
from search.scheduler import Rungs, rung_tokens
from search.searcher import RungScheduler, StudySearcher
from search.sections import StudySpec
from search.spec import check_all, differences, load_table, read_spec, to_toml
from search.store import Store
from search.warm_start import learn_from
from spaces.architecture import TeacherFacts
from spaces.comparison import tuning_seed
from spaces.dominance import costs_of_rows, front_of, leaders
from spaces.errors import StillhouseError
from spaces.records import OBJECTIVES, Objective
from spaces.search_space import SearchSpace
from trainables.cache import cache_folder
from trainables.lane import lane_trainable
from trainables.worker import LaneSettings

LOG = logging.getLogger("stillhouse.runner")
LOST_LANES = 2
"""How often Tune starts a lane again that was lost with its node."""


@dataclass(frozen=True)
class Plan:
    """A study that is ready to run. Tests put a cheap `function` and invented costs here."""

    spec: StudySpec
    space: SearchSpace
    costs: Costs
    tasks: tuple[str, ...]
    job: Mapping[str, Any]
    """What all jobs share; trial, config, seed and folders are added to it."""
    study: Mapping[str, Any]
    """study.json."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Columns that all rows share."""
    function: str = LaneSettings.function


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    rows: tuple[dict[str, Any], ...]
    ended: str
    """Why the search was over; empty when it was stopped before."""


def run_spec(
    path: str,
    folder: str | None,
    *,
    address: str | None = None,
    trials: int | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """`stillhouse run`: a new study, or more of the one that is in the folder."""
    from trainables.teacher import read_facts

    table, base = load_table(path)
    if trials is not None:
        table.setdefault("budget", {})["trials"] = trials
    spec, space, facts = check_all(table, base, path, read_facts)
    return run_study(spec, space, facts, folder or f"studies/{spec.name}", address=address, say=say)


def resume(
    folder: str, *, address: str | None = None, trials: int | None = None, say: Callable[[str], None] = print
) -> Outcome:
    """`stillhouse resume`: go on from the spec that the folder keeps."""
    spec, space, facts = stored_study(folder, trials)
    return run_study(spec, space, facts, folder, address=address, say=say)


def stored_study(folder: str, trials: int | None = None) -> tuple[StudySpec, SearchSpace, TeacherFacts]:
    """The spec that a folder keeps, with its space and teacher."""
    from trainables.teacher import read_facts

    store = Store(folder)
    if not store.is_study():
        raise StillhouseError(
            f"{folder} is not a study folder: it has no spec.toml. To start one: stillhouse run SPEC {folder}"
        )
    table = tomllib.loads(store.read_text("spec.toml"))
    if trials is not None:
        table["budget"]["trials"] = trials
    return check_all(table, Path("/"), f"{folder}/spec.toml", read_facts)


def confirm(
    folder: str, *, top: int, seeds: int, address: str | None = None, say: Callable[[str], None] = print
) -> Outcome:
    """`stillhouse confirm`: run the leaders of a study's front again, until each has this many seeds.

    Leaders are chosen by the trials of the study's own seed, so that a second call goes on with the same ones.
    """
    spec, space, facts = stored_study(folder)
    objectives = [OBJECTIVES[name] for name in spec.search.objectives]

    say_once = functools.cache(say)

    def leaders_with_seeds(asktell: AskTell) -> tuple[Asks, int]:
        chosen = leading([row for row in asktell.progress.rows if row["seed"] == spec.seed], objectives, top)
        configs = [asktell.history.config_of(row["trial"]) for row in chosen]
        numbers = ", ".join(str(row["trial"]) for row in chosen)
        say_once(f"{len(chosen)} leaders, trials {numbers}, with {seeds} seeds each")
        return [(config, spec.seed + number) for number in range(1, seeds) for config in configs], 0

    return run_study(spec, space, facts, folder, address=address, say=say, wanted=leaders_with_seeds)


def leading(rows: Sequence[Mapping[str, Any]], objectives: Sequence[Objective], top: int) -> list[Mapping[str, Any]]:
    """The members of the front that hold up most of its hypervolume."""
    members = front_of(rows, objectives)
    return [members[i] for i in leaders(costs_of_rows(members, objectives), top)]


def run_study(
    spec: StudySpec,
    space: SearchSpace,
    facts: TeacherFacts,
    folder: str,
    *,
    address: str | None = None,
    say: Callable[[str], None] = print,
    wanted: Wanted | None = None,
) -> Outcome:
    """prepare -> tune -> finish, with real distillation."""
    from search.baselines import score_baselines
    from search.finish import score_front
    from trainables.export import quiet_transformers

    store = Store(folder, [task.name for task in spec.tasks], by_language=bool(languages_of(spec.tasks)))
    with store.locked(say), quiet_transformers(), contextlib.ExitStack() as held:
        refuse_other_study(store, spec)
        with cluster(spec.cluster, address, log_file(store)):
            plan = make_plan(spec, space, facts, store, held, say)
            outcome = tune_study(plan, store, say, wanted)
        if outcome.ended:
            score_front(plan.spec, store, plan.job["tasks"], say)
            score_baselines(plan.spec, store, plan.job, say)
    return outcome


def make_plan(
    spec: StudySpec,
    space: SearchSpace,
    facts: TeacherFacts,
    store: Store,
    held: contextlib.ExitStack,
    say: Callable[[str], None],
) -> Plan:
    """Prepare data, scores and costs; keep what a study on disk has already settled."""
    from search.prepare import cost_columns, prepare

    started = time.perf_counter()
    prepared = prepare(spec, space, facts, held, say)
    study = {**prepared.study, "prepare_s": time.perf_counter() - started}
    if store.exists("study.json"):
        settled = store.read_json("study.json")
        study |= {key: settled[key] for key in ("created", "teacher", "tasks", "prepare_s") if key in settled}
    measured = bool(prepared.profiles)
    job = {
        "teacher": spec.teacher.path,
        "corpus": prepared.corpus,
        "targets": prepared.targets,
        "tasks": list(prepared.tasks.values()),
        "languages": languages_of(spec.tasks),
        "train_tokens": spec.budget.train_tokens,
        "protocol": spec.evaluation.protocol,
        "floors": {name: {"teacher": task["teacher"], "floor": task["floor"]} for name, task in study["tasks"].items()},
        "rung_floors": prepared.rung_scores,
        "test_floors": prepared.test_scores,
        "training": {key: value for key, value in dataclasses.asdict(spec.training).items() if key != "start"},
        "start": spec.training.start or "",
        "latency": None if measured else dataclasses.asdict(spec.latency),
    }
    return Plan(
        spec=spec,
        space=space,
        costs=cost_columns(prepared, facts, spec.latency.sequence_length),
        tasks=tuple(prepared.tasks),
        job=job,
        study=study,
        constants={"hardware": study["hardware"], "versions": json.dumps(study["versions"], sort_keys=True)},
    )


def refuse_other_study(store: Store, spec: StudySpec) -> None:
    """A folder holds one study; another spec must not mix its rows into it."""
    if not store.is_study():
        if store.exists() and store.parts("trials"):
            raise StillhouseError(f"{store.folder} holds trials but no spec.toml; it is not a whole study folder")
        return
    stored = read_spec(tomllib.loads(store.read_text("spec.toml")), Path("/"), f"{store.folder}/spec.toml")
    if found := differences(stored, spec):
        listed = "".join(f"\n  {line}" for line in found)
        raise StillhouseError(
            f"{store.folder} holds another study; choose another folder or undo these changes:{listed}"
        )


def tune_study(
    plan: Plan,
    store: Store,
    say: Callable[[str], None] = print,
    wanted: Wanted | None = None,
) -> Outcome:
    """Run trials until the budget is spent, the space is used up, or somebody stops it; or only what is `wanted`."""
    spec = plan.spec
    store.write_text("study.json", json.dumps(plan.study, indent=2) + "\n")
    store.write_text("spec.toml", to_toml(spec))  # last: its presence makes the folder a study
    asktell = ask_tell(plan, store, say)
    if wanted is not None:
        asktell.narrow(wanted)
    done = sum(asktell.history.ran.values())
    if done or asktell.waiting:
        say(f"going on: {done} trials done before, {asktell.waiting} to be run again")
    scratch = tempfile.mkdtemp(prefix="stillhouse-")
    try:
        with output_to(log_file(store)) as terminal:
            progress = StudyProgress(asktell, terminal)
            if wanted is None and spec.comparison.seeds is not None:
                asktell.narrow(comparison(spec, plan.space, progress.say))
            keeper = Keeper(store, spec.search.objectives, spec.storage.quota_gb, progress.say)
            keeper.tidy(asktell.progress.rows)
            make_job = job_maker(plan, store, keeper.started)
            searcher = StudySearcher(asktell, make_job, lambda row: _ended(row, keeper, progress), Room(spec.cluster))
            callbacks = [progress, Sweeper(), *loggers(spec.logging.callbacks, spec.name, log_file(store).parent)]
            with progress, terminable():
                _fit(plan, searcher, callbacks, scratch)
        if searcher.fatal is not None:
            raise searcher.fatal
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _report_end(asktell, store, say, progress)
    return Outcome(tuple(asktell.progress.rows), asktell.progress.ended)


def ask_tell(plan: Plan, store: Store, say: Callable[[str], None]) -> AskTell:
    """The search of a plan, as far as the store has it."""
    spec = plan.spec
    return AskTell(
        store,
        plan.space,
        plan.costs,
        sampler=spec.search.sampler,
        objectives=spec.search.objectives,
        constraints=spec.search.constraints,
        seed=spec.seed,
        budget=spec.budget.trials,
        train_tokens=spec.budget.train_tokens,
        candidates=spec.search.candidates,
        rungs=Rungs(
            rung_tokens(spec.rungs.first_tokens, spec.rungs.factor, spec.budget.train_tokens),
            spec.rungs.factor,
            spec.rungs.protected,
        ),
        earlier=learn_from(spec.search.warm_start, spec, plan.space, say),
        constants=plan.constants,
        reference=plan.study["teacher"],
    )


def job_maker(plan: Plan, store: Store, started: Callable[[int], None]) -> Callable[[Ask], dict[str, Any]]:
    """Jobs as plain dictionaries, which is how they travel to the lanes. `started` learns of each trial."""

    spec = plan.spec
    tokens = rung_tokens(spec.rungs.first_tokens, spec.rungs.factor, spec.budget.train_tokens)

    def make(ask: Ask) -> dict[str, Any]:
        started(ask.trial)
        number = f"{ask.trial:05d}"
        folders = {"folder": store.uri("checkpoints", number), "student_folder": store.uri("students", number)}
        rungs = tokens if ask.seed == spec.seed else ()  # a confirmation runs undisturbed
        job = {**plan.job, "trial": ask.trial, "config": ask.config, "seed": ask.seed, "rungs": rungs, **folders}
        if ask.seed == tuning_seed(spec.seed):
            job["test_floors"] = {}  # what is chosen by it must not know the test splits
        return job

    return make


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
    wanted = plan.spec.cluster
    settings = LaneSettings(
        plan.function, wanted.workers_per_trial, wanted.cpus_per_worker, wanted.gpus_per_worker, wanted.hang_after_s
    )
    tuner = tune.Tuner(
        lane_trainable(settings),
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


def _ended(row: dict[str, Any], keeper: Keeper, progress: StudyProgress) -> None:
    progress.row(row)
    keeper.ended(row, progress.asktell.progress.rows)


def _report_end(asktell: AskTell, store: Store, say: Callable[[str], None], progress: StudyProgress) -> None:
    counts = ", ".join(
        f"{asktell.progress.count(status)} {status}"
        for status in ("finished", "stopped", "failed", "duplicate", "infeasible")
        if status != "stopped" or asktell.rungs.tokens
    )
    if asktell.progress.ended:
        store.remove("checkpoints")  # of stopped trials; should a larger budget promote one later, it starts over
        say(f"done: {asktell.progress.ended} ({counts}) after {duration(progress.elapsed_s)}")
    else:
        say(f"stopped ({counts}). To go on: stillhouse resume {store.folder}")
