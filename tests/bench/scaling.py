"""What a trial costs beside its training: trials per hour by trials at a time, and the search's own time per trial.

The search's own time is that of one ask, one report at a rung and one tell of a study in which so many trials have
ended already, the store's writes included: sampler, model, rungs and Parquet parts, everything but Tune.

    python tests/bench/scaling.py                          # about 15 minutes on two cores
    python tests/bench/scaling.py --trials 0               # the search's own time only, about 3 minutes
"""

import argparse
import json
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import small_study

from trainables.machine import hardware, versions

STORED = (100, 1_000, 10_000)
CYCLES, RUNGS = 30, (10_000, 30_000)
TASKS = ("package",)
SPACE = {
    "method": ["od", "hs", "mha", "mha_direct"], "shape": ["2x96", "3x96", "2x144", "3x144", "4x144", "4x192"],
    "mapping": ["last", "uniform", "last_k", "uniform_last"], "relation_heads": [12, 24, 48],
    "teacher_layer": [4, 5, 6], "temperature": [1.0, 2.0, 4.0],
    "initialisation": ["random", "projected", "projected_layers"],
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "batch_size": [8, 16],
}  # fmt: skip


def overhead(stored: int, folder: str) -> tuple[float, float]:
    """(milliseconds per trial, seconds to read the store) with so many trials in it."""
    from search.store.parts import Store
    from search.tune.tuning import Plan, ask_tell
    from spaces.students.architecture import architecture_of, count_parameters, flops_per_token
    from trainables.lanes.messages import TrialOutcome
    from trainables.tasks.scores import Scores
    from trainables.training.reports import TrialReport

    study = small_study.read_study(
        {
            "budget": {"trials": 10**6, "train_tokens": 90_000},
            "space": SPACE,
            "search": {"sampler": "tpe"},
            "rungs": {"first_tokens": RUNGS[0], "factor": 3},
        }
    )

    spec, space, facts = study.spec, study.space, study.teacher

    def costs(config: dict) -> dict:
        shape = architecture_of(config)
        return {"parameters": count_parameters(shape, facts), "flops_per_token": flops_per_token(shape, facts, 64),
                "latency_p50_ms": shape.num_layers * shape.hidden_size / 100}  # fmt: skip

    teacher = {"parameters": count_parameters(facts.architecture, facts)}
    meta: Any = SimpleNamespace(teacher=SimpleNamespace(costs=teacher))
    plan: Any = Plan(study, costs, TASKS, None, meta, study.spec.cluster)
    store = Store(folder, TASKS)
    with store.locked():
        fill(store, spec, space, costs, stored)
        started = time.perf_counter()
        search = ask_tell(plan, store, lambda line: None)
        read_s = time.perf_counter() - started
        rng = np.random.default_rng(1)
        cycles_s = []
        for _ in range(CYCLES):
            started = time.perf_counter()
            ask = search.ask()
            assert ask is not None
            early = TrialReport(1, RUNGS[0], 1.0, 0.0, 0.0, 0.0, 0.0, Scores(float(rng.random()), {}))
            if search.report(ask.trial, early) is None:
                search.tell(ask.trial, TrialOutcome(scores=Scores(float(rng.random()), {}), costs={"train_s": 1.0}))
            cycles_s.append(time.perf_counter() - started)
    return 1000 * float(np.median(cycles_s)), read_s


def fill(store, spec, space, costs, stored: int) -> None:
    """Random trials that have ended, in packs as a study of so many would have left them."""
    from collections import defaultdict
    from pathlib import Path

    import optuna
    import pyarrow as pa
    import pyarrow.parquet as pq

    from search.store.packing import PACK_TRIALS
    from search.store.parts import now
    from spaces.records.parts import pack_name
    from spaces.space.search_space import config_hash

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    rng = np.random.default_rng(0)
    known = set(store.schemas["trials"].names)
    rows: dict[str, list] = defaultdict(list)
    for trial in range(stored):
        config = space.suggest(study.ask())
        common = {"trial": trial, "config_hash": config_hash(config, spec.seed), "seed": spec.seed}
        rows["asked"].append(common | {"config": json.dumps(config, sort_keys=True), "asked_at": now()})
        early = [{"trial": trial, "step": level, "train_tokens": tokens, "loss": 1.0, "quality": float(rng.random())}
                 for level, tokens in enumerate(RUNGS, start=1)]  # fmt: skip
        rows["reports"] += early
        row = common | costs(config) | {key: value for key, value in config.items() if key in known}
        row |= {
            "status": "finished",
            "reason": "",
            "quality": float(rng.random()),
            "student_path": "",
            "started_at": now(),
        }
        rows["trials"].append(row)
        if trial % PACK_TRIALS == PACK_TRIALS - 1 or trial == stored - 1:
            first = trial // PACK_TRIALS * PACK_TRIALS
            for dataset, each in rows.items():
                Path(store.path(dataset)).mkdir(parents=True, exist_ok=True)
                path = store.path(dataset, pack_name(range(first, first + PACK_TRIALS)))
                pq.write_table(pa.Table.from_pylist(each, schema=store.schemas[dataset]), path)
            rows.clear()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24, help="trials of each run of the first table; 0 leaves it out")
    parser.add_argument("--stored", type=int, nargs="*", default=STORED)
    options = parser.parse_args()
    print(f"{hardware()}; torch {versions()['torch']}, ray {versions()['ray']}, optuna {versions()['optuna']}\n")
    if options.stored:
        print("| trials stored | search's own time per trial, ms | reading the store once, s |\n| --- | --- | --- |")
    for stored in options.stored:
        with tempfile.TemporaryDirectory() as folder:
            per_trial_ms, read_s = overhead(stored, folder)
        print(f"| {stored:,} | {per_trial_ms:.0f} | {read_s:.1f} |", flush=True)
    if options.trials:
        with small_study.ray_of(4):
            small_study.run_small({"budget": {"trials": 1}})  # what is prepared once for all is not part of the rate
        print("\n| trials at a time | trials per hour |\n| --- | --- |")
        for lanes in (1, 2, 4):
            with small_study.ray_of(4):
                changes = {"cluster": {"concurrent_trials": lanes}, "budget": {"trials": options.trials}}
                ran = small_study.run_small(changes)
            print(f"| {lanes} | {3600 * options.trials / ran.seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
