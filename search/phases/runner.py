"""A study from its spec to its results: prepare, tune, finish.

The study folder is the one truth. A run on a folder that already holds the same study goes on with it, whatever ended
the last run: a finished trial stays, an asked one is run again under its number, from its own checkpoint if it has one.
"""

import contextlib
import dataclasses
import functools
import json
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.phases.baselines import score_baselines
from search.phases.doors import open_doors
from search.phases.forecast import traps
from search.phases.gpus import with_gpus
from search.phases.inputs import STEPS, Inputs, as_nodes_read, read_inputs
from search.phases.prepare import cost_columns, prepare
from search.phases.tested import score_front
from search.proposals.asktell import Agenda, AskTell
from search.proposals.leaders import leading, noise_of
from search.proposals.warm_start import refuse_incomparable
from search.spec.changes import changed
from search.spec.checks import Study, check_all, read_spec
from search.spec.languages import languages_of
from search.spec.sections import StudySpec
from search.spec.writing import differences
from search.store.contents import refuse_changed, stored_table, write_contents
from search.store.history import Wanted
from search.store.notice import noticed
from search.store.parts import Store
from search.tune.cluster import cluster
from search.tune.environment import refuse_machine
from search.tune.kept_ray import KeptRay
from search.tune.tuning import Outcome, Plan, log_file, tune_study
from spaces.errors import StillhouseError
from spaces.records.columns import axis_columns
from spaces.records.meta import StudyMeta
from spaces.records.state import ENDED, SCORING, SEARCHING, STOPPED
from spaces.telling import Say, counted
from trainables.lanes.messages import TrialJob
from trainables.lanes.settings import ClusterSpec
from trainables.machine import give_back_memory
from trainables.models.loading import quiet_transformers
from trainables.models.teacher import read_facts
from trainables.tasks.scores import Reference


@dataclass(frozen=True)
class Driver:
    """Where a study runs, and who is told of it."""

    address: str | None = None
    """Of a running Ray cluster; None: this machine alone."""
    say: Say = print
    kept: KeptRay | None = None
    """The Ray of `stillhouse up`, which runs on this machine."""


def run_spec(path: str, folder: str | None, driver: Driver, changes: Sequence[str] = ()) -> Outcome:
    """`stillhouse run`: a new study, or more of the one that is in the folder; `changes` as KEY=VALUE."""
    study = open_doors(path, changes, driver.address).study
    for line in traps(study):
        driver.say(f"warning: {line}")
    return run_study(study, folder or f"studies/{study.spec.name}", driver)


def resume(folder: str, driver: Driver, changes: Sequence[str] = ()) -> Outcome:
    """`stillhouse resume`: go on from the spec that the folder keeps."""
    return run_study(stored_study(folder, changes), folder, driver)


def stored_study(folder: str, changes: Sequence[str] = ()) -> Study:
    """The study of the spec that a folder keeps."""
    store = Store(folder)
    if not store.is_study():
        raise StillhouseError(
            f"{folder} is not a study folder: it has no spec.toml. To start one: stillhouse run SPEC {folder}"
        )
    table = changed(stored_table(store), changes)
    return check_all(table, Path("/"), f"{folder}/spec.toml", read_facts)


def confirm(folder: str, driver: Driver, top: int, seeds: int) -> Outcome:
    """`stillhouse confirm`: run the leaders of a study's front again, until each has this many seeds.

    Leaders are chosen by the trials of the study's own seed, so that a second call goes on with the same ones.
    """
    study = stored_study(folder)
    spec = study.spec
    say_once = functools.cache(driver.say)

    meta = Store.of(folder).read_meta()

    def leaders_with_seeds(asktell: AskTell) -> tuple[Sequence[Wanted], int]:
        own = [row for row in asktell.tally.rows if row.seed == spec.seed]
        margin = noise_of(own, meta)
        chosen = leading(own, asktell.aim, top, margin)
        owners = dict.fromkeys(leader.row.owner for leader in chosen)
        rows = [asktell.tally.by_trial[trial] for trial in owners]
        if not chosen:
            say_once("nothing to confirm: all that could be on the front are starts that were not trained or were kept")
            return [], 0
        say_once(
            f"{len(owners)} leader{'s' * (len(owners) > 1)} with {seeds} seeds each: the students that would add most "
            f"to the front if noise ({margin:.3f}, one standard error on the dev examples) had been against them"
        )
        for leader in chosen:
            say_once(f"  {leader.words(margin)}")
        seeded = range(spec.seed + 1, spec.seed + seeds)
        return [Wanted(row.config, seed, row.parent) for seed in seeded for row in rows], 0

    return run_study(study, folder, driver, leaders_with_seeds)


def run_study(study: Study, folder: str, driver: Driver, wanted: Agenda | None = None) -> Outcome:
    """prepare -> tune -> finish, with real distillation."""
    spec, say = study.spec, driver.say
    refuse_machine(driver.address)
    store = Store(
        folder,
        [task.name for task in spec.tasks],
        by_language=bool(languages_of(spec.tasks)),
        axes=axis_columns(study.space.own_axes),
    )
    with store.locked(say), quiet_transformers(), contextlib.ExitStack() as held:
        refuse_other_study(store, spec)
        notice = held.enter_context(noticed(store, say))
        step = counted(STEPS, notice.say)
        place = functools.partial(cluster, spec.cluster, driver.address, log_file(store), driver.kept)
        if driver.address is not None:  # its workers cut a large corpus
            held.enter_context(place())
        inputs = read_inputs(spec, step, notice.say)
        refuse_changed(store, inputs.contents, inputs.teacher.facts.digest, notice.say)
        refuse_incomparable(spec, inputs.contents)
        with place():
            nodes = with_gpus(study, inputs, notice.say)
            plan = make_plan(study, inputs, store, nodes, step, held, notice.say)
            write_contents(store, inputs.contents)
            give_back_memory()  # of scores and targets, which a long search has no more use for
            notice.enter(SEARCHING)
            outcome = tune_study(plan, store, notice.say, wanted)
        if outcome.ended:
            notice.enter(SCORING)
            known = dataclasses.replace(spec, cluster=plan.cluster)
            score_front(known, store, plan.meta, plan.job, notice.say)
            if spec.comparison.seeds is not None:  # a search has scored its starts
                score_baselines(known, store, plan.meta.data, plan.job, notice.say)
        notice.enter(ENDED if outcome.ended else STOPPED)
    return outcome


def make_plan(
    study: Study,
    inputs: Inputs,
    store: Store,
    cluster: ClusterSpec,
    step: Say,
    held: contextlib.ExitStack,
    say: Say,
) -> Plan:
    """Prepare scores and costs on a cluster with settled GPUs; keep what a study on disk has already settled."""
    started, spec = time.perf_counter(), study.spec
    here = dataclasses.replace(study, spec=dataclasses.replace(spec, cluster=cluster))
    earlier = store.read_meta() if store.exists("study.json") else None
    prepared = prepare(here, inputs, step, held, say, None if earlier is None else earlier.pace_ms)
    prepare_s = inputs.prepare_s + time.perf_counter() - started
    meta = dataclasses.replace(prepared.meta, prepare_s=prepare_s, place=store.root if store.is_local else "")
    if earlier is not None:
        meta = settled(meta, earlier)
    own = as_nodes_read(spec)
    job = TrialJob(
        trial=-1,
        config={},
        seed=spec.seed,
        device=cluster.device,
        teacher=own.teacher.path,
        embedding=spec.embedding,
        tokenizer=own.student.tokenizer,
        corpus=prepared.corpus,
        targets=prepared.targets,
        tasks=tuple(prepared.tasks.values()),
        keeps_start=spec.evaluation.starts and spec.comparison.seeds is None,
        languages=languages_of(spec.tasks),
        weights={task.name: task.weight for task in spec.tasks},
        train_tokens=spec.budget.train_tokens,
        evaluation=spec.evaluation,
        floors={name: Reference(task.teacher, task.floor) for name, task in meta.tasks.items()},
        rung_floors=prepared.rung_scores,
        test_floors=prepared.test_scores,
        training=own.training,
        latency=None if prepared.profiles else spec.latency,
        lengths=prepared.lengths,
        deploy=spec.deploy,
    )
    return Plan(
        study=study,
        cluster=cluster,
        costs=cost_columns(prepared.profiles, study),
        variants={name: cost_columns(profiles, study) for name, profiles in prepared.variants.items()},
        tasks=tuple(prepared.tasks),
        job=job,
        meta=meta,
        constants={"hardware": meta.hardware, "versions": json.dumps(meta.versions, sort_keys=True)},
    )


def settled(meta: StudyMeta, earlier: StudyMeta) -> StudyMeta:
    """The study as it is now, with what its first run has settled; costs that run did not know are new."""
    costs = {**meta.teacher.costs, **earlier.teacher.costs}
    return dataclasses.replace(
        meta,
        created=earlier.created,
        teacher=dataclasses.replace(earlier.teacher, costs=costs),
        tasks=earlier.tasks,
        prepare_s=earlier.prepare_s,
        pace_ms=earlier.pace_ms or meta.pace_ms,
    )


def refuse_other_study(store: Store, spec: StudySpec) -> None:
    """A folder holds one study; another spec must not mix its rows into it."""
    if not store.is_study():
        if store.exists() and store.numbers("trials"):
            raise StillhouseError(f"{store.folder} holds trials but no spec.toml; it is not a whole study folder")
        return
    stored = read_spec(tomllib.loads(store.read_text("spec.toml")), Path("/"), f"{store.folder}/spec.toml")
    by_content = store.exists("study.json") and bool(store.read_meta().contents)
    if found := differences(stored, spec, by_content=by_content):
        listed = "".join(f"\n  {line}" for line in found)
        raise StillhouseError(
            f"{store.folder} holds another study; choose another folder or undo these changes:{listed}"
        )
