"""Teacher targets of a study: whether to write them down once or to run the teacher live, and the writing.

A cache pays when writing it costs less teacher time than the trials together would spend, and it fits. The shards are
written by Ray tasks, as many at a time as the cluster has room for, and those of a small cache by the driver, which has
the teacher at hand; a stopped run leaves whole shards, which the next one keeps. The folder is locked while a study
reads it, and the caches that no study has used for longest give way.
"""

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

from search.phases.inputs import as_nodes_read
from search.phases.writing_targets import build
from search.spec.sections import StudySpec
from search.tune.calls import START_S, with_start
from search.tune.cluster import workers
from spaces.errors import StillhouseError
from spaces.space.search_space import SearchSpace
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from spaces.students.layer_mapping import HELD
from spaces.students.stages import axes_of, stages_of, terms_of
from spaces.students.transfer import Pairing
from spaces.telling import Say
from trainables.copies import file_at_hand, is_home, locked, name_of, shared
from trainables.machine import pinned_threads, use_bf16
from trainables.models.encoder import hidden_states
from trainables.models.signals import State
from trainables.models.student import held_by
from trainables.models.teacher import Teacher
from trainables.text.corpus import Corpus, blocks_visited, open_corpus
from trainables.training.distillation import teacher_states
from trainables.training.loop import held_out_blocks
from trainables.training.readings import read_batch
from trainables.training.settings import GENERATIONS
from trainables.training.target_shards import unfinished_shards
from trainables.training.targets import Needs, TargetPlan, needs_of

GB = 1e9
NEVER = "none: no method learns from it"
PROBE_BLOCKS = 8
FREE_SHARE = 0.8
"""Of the free disk, how much a cache may take."""


@dataclass(frozen=True)
class Decision:
    """Whether to cache, and the sentence that says why."""

    cached: bool
    why: str
    here: bool = False
    """Whether the driver writes the cache: it is done before a worker would have begun."""


Holds = Callable[[str, StudentArchitecture], tuple[int, ...]]
"""A start and a shape to the teacher layer that each layer of the student starts as; none where none is copied."""


def needs_of_space(space: SearchSpace, held: Holds) -> Needs:
    """What the feasible configurations of a space can ask of the teacher."""
    return needs_of(wants_of_space(space, held))


def wants_of_space(space: SearchSpace, held: Holds) -> Iterator[tuple[tuple[State, ...], bool]]:
    """(states of the teacher, whether the inputs are masked) of all that a method may be set up for, stage by stage.

    What is learned on the supplement is asked of the live teacher.
    A method does not ask the teacher for other things within a range: of a range its ends stand for all.
    """
    for method, students in space.feasible.items():
        cached = [stage.method for stage in stages_of(method) if not stage.on_supplement]
        names = [axis.name for axis in axes_of(method)]
        for student in students:
            for values in product(*(space.legal(name, student) or space.axes[name].ends for name in names)):
                config = {"method": method, **dict(zip(names, values, strict=True))}
                facts = space.teacher
                pairing = Pairing(config, student, facts.architecture, facts.embedding, scored_state=facts.scored_state)
                mapped = config.get("mapping") == HELD
                for start, stage in product(space.legal("initialisation", student) if mapped else ("random",), cached):
                    own = replace(pairing, config={**config, "method": stage})
                    masked = any(term.masked_inputs for term in terms_of(stage))
                    yield teacher_states(replace(own, held=held(str(start), student) if mapped else ())), masked


def make_target_plan(
    spec: StudySpec, needs: Needs, facts: TeacherFacts, folder: str, corpus: Corpus, seeds: Sequence[int]
) -> TargetPlan:
    """The cache that would serve every trial of the study under these seeds."""
    length = spec.corpus.sequence_length
    train_blocks = blocks_of_budget(spec, corpus.tokens_per_row) * generations(spec)
    visited = np.unique(np.concatenate([blocks_visited(corpus, train_blocks, seed) for seed in seeds]))
    return TargetPlan(
        teacher=spec.teacher.path,
        teacher_digest=facts.digest,
        corpus=folder,
        needs=needs,
        blocks=tuple(visited.tolist()),
        held_out=held_out_blocks(corpus),
        views=min(spec.training.mask_views, -(-train_blocks // len(corpus.train))),
        mask_fraction=spec.training.mask_fraction,
        width=facts.architecture.hidden_size,
        sequence_length=length,
        bf16=use_bf16(
            spec.training.teacher_precision, torch.device(spec.cluster.device), facts.architecture.hidden_size
        ),
        dtype=spec.targets.dtype,
    )


def generations(spec: StudySpec) -> int:
    """Stretches of text that the trials of a study read, each as long as the budget of one."""
    return GENERATIONS if spec.search.inherit or spec.budget.final_share else 1


def blocks_of_budget(spec: StudySpec, tokens_per_row: float) -> int:
    """Rows that a trial trains on; the last batch is a whole one."""
    sizes = [int(size) for size in spec.space["batch_size"]]
    return max(math.ceil(spec.budget.train_tokens / (size * tokens_per_row)) * size for size in sizes)


def why_never_cached(spec: StudySpec, needs: Needs) -> str:
    """Why a cache is out of the question, or nothing."""
    if not needs.anything:
        return "live: what it teaches is about the supplement" if spec.corpus.supplement else NEVER
    if spec.training.mixup:
        return "live: no two mixes of texts are the same"
    return "live, as the spec asks" if spec.targets.mode == "live" else ""


def decide(
    spec: StudySpec, plan: TargetPlan, space: SearchSpace, teacher_s_per_token: float, places: int, free_bytes: int
) -> Decision:
    """Cache or live, and the numbers behind it. `places`: shards that are written, or trials that run, at a time."""
    wanted = spec.targets
    per_token = plan.bytes() / (len(plan.blocks) * plan.sequence_length)
    size = f"{plan.bytes() / GB:.2f} GB ({per_token:,.0f} bytes a token as {plan.dtype})"
    limit = min(wanted.quota_gb * GB, FREE_SHARE * free_bytes)
    if plan.bytes() > limit:
        rule = "[targets] quota_gb" if wanted.quota_gb * GB <= limit else "the free disk"
        text = f"a cache would take {size} and {rule} leaves {limit / GB:.2f} GB"
        if wanted.mode == "cache":
            raise StillhouseError(f"[targets] mode is 'cache', but {text}; choose 'auto', or dtype 'int8'")
        return Decision(False, f"live, since {text}")
    methods = space.axes["method"].choices
    learning = sum(any(term.signals for term in terms_of(str(method))) for method in methods) / len(methods)
    live_s = spec.budget.trials * learning * spec.budget.train_tokens * teacher_s_per_token
    passes = sum(plan.rows(part) for part in plan.parts()) * plan.sequence_length
    alone_s = passes * teacher_s_per_token
    here = alone_s < START_S
    build_s = alone_s if here else with_start(alone_s, places)
    numbers = f"about {build_s:.0f} s to write once, {live_s / places:.0f} s of teacher in {spec.budget.trials} trials"
    if wanted.mode == "auto" and build_s >= live_s / places:
        return Decision(False, f"live: a cache would take {numbers}")
    return Decision(True, f"cached, {size}; {numbers}", here)


def teacher_speed(plan: TargetPlan, teacher: Teacher, corpus: Corpus, threads: int) -> float:
    """Seconds per token of the live teacher, run as deep as the study can ask."""
    blocks = np.arange(min(PROBE_BLOCKS, len(corpus.train)))
    device = teacher.model.device
    reading = read_batch(corpus.of_teacher, "train", blocks, None, plan.mask_fraction).to(device)
    depth = max(state.layer for state in (*plan.needs.plain, *plan.needs.masked))
    best = float("inf")
    with torch.no_grad(), pinned_threads(threads), torch.autocast(device.type, torch.bfloat16, enabled=plan.bf16):
        for _ in range(3):
            started = time.perf_counter()
            hidden_states(teacher.model, reading.inputs_BT, reading.mask_BT, depth)
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
    return best / reading.inputs_BT.numel()


def prepare_targets(
    spec: StudySpec,
    space: SearchSpace,
    teacher: Teacher,
    corpus_folder: str,
    seeds: Sequence[int],
    held: contextlib.ExitStack,
    say: Say,
) -> str:
    """How jobs name a whole target cache for the study, or "" when its trials are to run the teacher live.

    `held` keeps the folder from being deleted by other studies for as long as it is open.
    """
    corpus = open_corpus(Path(corpus_folder))
    needs = needs_of_space(space, lambda start, student: held_by(start, student, teacher.source, corpus))
    plan = make_target_plan(as_nodes_read(spec), needs, teacher.facts, shared(corpus_folder), corpus, seeds)
    if why := why_never_cached(spec, plan.needs):
        say(f"teacher targets: {why}")
        return ""
    if plan.folder.is_dir() or is_home(plan.folder / "plan.json"):
        plan.folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(plan.folder))
        if file_at_hand(plan.folder / "plan.json").is_file() and not unfinished_shards(plan):
            os.utime(plan.folder)
            say(f"teacher targets: cached before, {plan.bytes() / GB:.2f} GB")
            return name_of(plan.folder)
    base = plan.folder.parent
    base.mkdir(parents=True, exist_ok=True)
    places = workers(spec.cluster)
    speed = teacher_speed(plan, teacher, corpus, spec.cluster.cpus_per_worker)
    decision = decide(spec, plan, space, speed, places, shutil.disk_usage(base).free)
    say(f"teacher targets: {decision.why}")
    if not decision.cached:
        return ""
    make_room(base, plan.folder, int(spec.targets.quota_gb * GB) - plan.bytes(), say)
    plan.folder.mkdir(exist_ok=True)
    held.enter_context(locked(plan.folder))
    here = decision.here and teacher.model.device.type == spec.cluster.device
    build(spec, plan, say, teacher if here else None)
    return name_of(plan.folder)


def make_room(base: Path, keep: Path, allowed: int, say: Say) -> None:
    """Delete the caches unused for longest until those left take no more than `allowed` bytes; none that is read."""
    others = sorted((p for p in base.iterdir() if p.is_dir() and p != keep), key=lambda p: p.stat().st_mtime)
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in others}
    total = sum(sizes.values())
    for path in others:
        if total <= allowed:
            return
        with contextlib.suppress(BlockingIOError), locked(path, exclusive=True):
            shutil.rmtree(path)
            total -= sizes[path]
            say(f"teacher targets: {sizes[path] / GB:.2f} GB of another study deleted, to keep [targets] quota_gb")
