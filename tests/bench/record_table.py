"""Record a table of real trials: every configuration of a small conditional space, scored rung by rung.

Searches can then be compared by replay (search_efficiency.py), without training again. Every configuration of a spec in
tests/bench/tables is distilled once, every third one with a second seed; what starts from the teacher is scored before
its first step as well. Each run leaves one Parquet part in --out, so that an interrupted recording goes on; the parts
of a complete recording are joined into one file in tests/bench/recorded, named after the spec.

    python tests/bench/record_table.py docs --out table             # about 45 minutes on two cores, resumable
    python tests/bench/record_table.py docs --out table --only 8    # a taste: the first eight runs of the same order
"""

import argparse
import contextlib
import dataclasses
import json
import os
import time
import tomllib
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from search.phases.inputs import read_inputs
from search.phases.prepare import cost_columns, prepare
from search.phases.teacher_targets import make_target_plan, needs_of_space
from search.proposals.rungs import rung_tokens
from search.spec.checks import check_all
from spaces.errors import TrialFailed
from spaces.space.search_space import config_hash
from spaces.students.architecture import StudentArchitecture, architecture_of
from trainables.copies import at_hand
from trainables.lanes.judging import score
from trainables.lanes.kept import kept_corpus, kept_targets, kept_teacher
from trainables.lanes.messages import TrialJob
from trainables.machine import hardware, versions
from trainables.models.student import build_student
from trainables.models.teacher import read_facts
from trainables.tasks.scores import Scores
from trainables.tasks.spec import EvaluationSpec
from trainables.text.corpus import open_corpus
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun
from trainables.training.target_shards import build_shard, unfinished_shards, write_plan

SEEDS = (0, 1)
BENCH = Path(__file__).parent
SCORED_STARTS: dict[tuple[str, StudentArchitecture, int], dict[str, Any]] = {}


@lru_cache(maxsize=1)
def prepared(table: str) -> tuple[Any, Any, TrialJob]:
    """(space, costs, the job of no trial yet); from the cache after the first call on a machine."""
    study = check_all(tomllib.loads(spec_text(table)), Path.cwd(), table, read_facts)
    spec, space, facts = study.spec, study.space, study.teacher
    with contextlib.ExitStack() as held:
        ready = prepare(study, read_inputs(spec, print, print), print, held, print)
    needs = needs_of_space(space, lambda start, student: ())
    plan = make_target_plan(spec, needs, facts, ready.corpus, open_corpus(at_hand(ready.corpus)), SEEDS)
    plan.folder.mkdir(parents=True, exist_ok=True)
    for part, number in unfinished_shards(plan):
        build_shard(plan, part, number, kept_teacher(spec.teacher.path, spec.embedding, "cpu"))
    write_plan(plan)
    shared = TrialJob(
        trial=0, config={}, seed=0, teacher=spec.teacher.path, corpus=ready.corpus, tasks=tuple(ready.tasks.values()),
        train_tokens=spec.budget.train_tokens, evaluation=EvaluationSpec(), floors=ready.scores, training=spec.training,
        rungs=rung_tokens(spec.rungs.first_tokens, spec.rungs.factor, spec.budget.train_tokens),
        targets=str(plan.folder),
    )  # fmt: skip
    return space, cost_columns(ready.profiles, study), shared


def spec_text(table: str) -> str:
    """The spec of a table, as it was written."""
    return (BENCH / "tables" / f"{table}.toml").read_text()


def jobs(table: str) -> list[tuple[dict[str, Any], int]]:
    """(configuration, seed) of every run, shuffled, so that a part of the recording is a fair sample of the space."""
    configs = list(prepared(table)[0].enumerate())
    order = np.random.default_rng(0).permutation(len(configs))
    shuffled = [configs[i] for i in order]
    return [(config, SEEDS[0]) for config in shuffled] + [(config, SEEDS[1]) for config in shuffled[::3]]


def record(table: str, config: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Distil one configuration; one row per rung, the last at the full budget, and one before the first step."""
    torch.set_num_threads(1)
    _, costs, shared = prepared(table)
    job = dataclasses.replace(shared, config=dict(config), seed=seed)
    teacher, corpus = kept_teacher(job.teacher, job.embedding, "cpu"), kept_corpus(job.corpus)
    known = {key: costs(config)[key] for key in ("parameters", "flops_per_token", "latency_p50_ms")}
    head = {
        "config_hash": config_hash(config, seed),
        "config": json.dumps(config, sort_keys=True),
        "seed": seed,
        **known,
    }
    rows: list[dict[str, Any]] = []

    def scored(student: Any, tokens: int, train_s: float) -> Scores:
        started = time.perf_counter()
        found, _ = score(student, job, corpus)
        shares = {
            "quality": found.quality,
            **{f"recovered_{name}": task.recovered for name, task in found.tasks.items()},
        }
        row = {**head, "train_tokens": tokens, "train_s": train_s, **shares, "score_s": time.perf_counter() - started}
        rows.append({**row, "reason": ""})
        return found

    torch.manual_seed(seed)
    started = time.perf_counter()
    student = build_student(job.config, teacher, seed, corpus)
    start_s = time.perf_counter() - started
    untrained = start_rows(job, student, head)
    pending = iter(shared.rungs)
    seconds: list[float] = []
    try:
        trained = distil(
            student, teacher, corpus, TrainingRun(job.config, job.train_tokens, seed, job.training, shared.rungs),
            lambda report: seconds.append(report.elapsed_s) if report.scores is not None else None,
            score=lambda model: scored(model, next(pending), 0.0), targets=kept_targets(job.targets),
        )  # fmt: skip
    except TrialFailed as error:
        spent = time.perf_counter() - started
        return [*rows, {**head, "train_tokens": 0, "train_s": spent, "score_s": 0.0, "reason": str(error)}]
    scored(student, job.train_tokens, trained.train_s)
    for row, train_s in zip(rows, [*seconds, trained.train_s], strict=True):
        row["train_s"] = train_s + start_s
    return [*untrained, *rows]


def start_rows(job: TrialJob, student: Any, head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row at no tokens, for what starts from the teacher; random weights are the floor.

    The same start is scored once per process, whatever trains it afterwards.
    """
    if job.config["initialisation"] == "random":
        return []
    key = (job.config["initialisation"], architecture_of(job.config), job.seed)
    if key not in SCORED_STARTS:
        started = time.perf_counter()
        found, _ = score(student, job, kept_corpus(job.corpus))
        shares = {f"recovered_{name}": task.recovered for name, task in found.tasks.items()}
        known = {"train_tokens": 0, "train_s": 0.0, "quality": found.quality, **shares}
        SCORED_STARTS[key] = {**known, "score_s": time.perf_counter() - started, "reason": ""}
    return [{**head, **SCORED_STARTS[key]}]


def run(table: str, number: int, folder: Path) -> None:
    """Record one run into its part, written whole or not at all."""
    rows = record(table, *jobs(table)[number])
    unfinished = folder / f".part-{number:05d}.tmp"
    pq.write_table(pa.Table.from_pylist(rows), unfinished)
    unfinished.rename(folder / f"part-{number:05d}.parquet")


def join(name: str, folder: Path, target: Path, partial: bool) -> None:
    """All parts as one file, with what made it beside it in the metadata."""
    parts = sorted(folder.glob("part-*.parquet"))
    table = pa.concat_tables([pq.read_table(part) for part in parts], promote_options="permissive")
    about = {
        "command": f"python tests/bench/record_table.py {name} --out table", "spec": spec_text(name),
        "rungs": prepared(name)[2].rungs,
        "seeds": SEEDS, "runs": len(parts), "partial": partial, "hardware": hardware(), "versions": versions(),
        "recorded": time.strftime("%Y-%m-%d", time.gmtime()), "processes": "1 thread each",
    }  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    table = table.replace_schema_metadata({"about": json.dumps(about)})
    pq.write_table(table, target, compression="zstd")
    print(f"{len(parts)} runs, {table.num_rows} rows, {target.stat().st_size / 1024:.0f} KiB: {target}")


def main() -> None:
    """Record what is missing, then join."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=sorted(path.stem for path in (BENCH / "tables").glob("*.toml")))
    parser.add_argument("--out", type=Path, required=True, help="folder of parts")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--only", type=int, help="stop after this many runs of the order")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = range(len(jobs(options.table)))[: options.only]
    missing = [number for number in wanted if not (options.out / f"part-{number:05d}.parquet").is_file()]
    print(f"{len(missing)} of {len(jobs(options.table))} runs to record", flush=True)
    started = time.time()
    with ProcessPoolExecutor(options.workers) as pool:
        futures = [pool.submit(run, options.table, number, options.out) for number in missing]
        for count, future in enumerate(as_completed(futures), start=1):
            future.result()
            left = (time.time() - started) / count * (len(missing) - count) / 60
            print(f"{count} of {len(missing)}, about {left:.0f} min left", flush=True)
    partial = len(wanted) < len(jobs(options.table))
    target = BENCH / "recorded" / f"{options.table}.parquet"
    join(options.table, options.out, options.out / "partial.parquet" if partial else target, partial)


if __name__ == "__main__":
    main()
