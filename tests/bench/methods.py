"""Does each transfer method earn its keep? Every method against no training and against training without the teacher.

Same student, data, budget and seeds, under two starts: random weights, and the teacher's layers in a projected basis.
`mlm` from random weights is training without the teacher; from the teacher's layers it is training on from them. The
learning rate of each method and start is chosen first, on a seed that is not reported, by dev quality after half of the
budget. Reported is the quality on the test splits of the docs tasks, over three seeds.

    python tests/bench/methods.py --out methods                  # about 20 minutes on two cores, resumable
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from spaces.errors import TrialFailed
from spaces.students import transfer
from spaces.students.architecture import parse_shape
from trainables.cache import cache_folder
from trainables.machine import hardware, versions
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.tasks.scoring import load_task, prepare_task, recovered, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import blocks_visited, open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.distillation import teacher_states, use_bf16
from trainables.training.loop import distil, held_out_blocks
from trainables.training.settings import TrainingRun, TrainingSpec
from trainables.training.target_shards import build_shard, unfinished_shards, write_plan
from trainables.training.targets import TargetPlan, Targets, needs_of

TEACHER = "package:trainables/embedded_teacher"
SHAPE, BATCH_SIZE, SEQUENCE_LENGTH = "3x144", 16, 64
STARTS = ("random", "projected_layers")
METHODS = {
    "mlm": {},
    "od": {"temperature": 2.0},
    "hs": {"mapping": "uniform"},
    "mha": {"relation_heads": 12, "teacher_layer": 5},
    "mha_direct": {"teacher_layer": 5},
}
LEARNING_RATES = (1e-3, 3e-3)
TUNING_SEED, SEEDS = 1000, (0, 1, 2)
TRAINING = TrainingSpec()
TASKS = tuple(
    TaskSpec(name, f"docs:{name}", kind, max_train=2000, max_dev=2000, max_test=4000, max_length=64)
    for name, kind in (
        ("package", "classification"),
        ("section", "classification"),
        ("pairs", "pair_classification"),
        ("order", "classification"),
    )
)


@dataclass(frozen=True)
class Prepared:
    """Folders of corpus, tasks and teacher targets."""

    corpus: Path
    tasks: list[Path]
    targets: Path


def prepare(tokens: int) -> Prepared:
    """Cut the data, and write down what the teacher says about every block that a run will meet."""
    teacher = load_teacher(TEACHER)
    folder = prepare_corpus(CorpusSpec("docs", SEQUENCE_LENGTH, max_tokens=tokens), teacher.tokenizer, print)
    corpus = open_corpus(folder)
    blocks = -(-tokens // (BATCH_SIZE * SEQUENCE_LENGTH)) * BATCH_SIZE
    visited = [blocks_visited(corpus, blocks, seed) for seed in (TUNING_SEED, *SEEDS)]
    shape = teacher.facts.architecture
    wants = []
    for name in METHODS:
        pairing = transfer.Pairing({"method": name, **METHODS[name]}, parse_shape(SHAPE), shape)
        wants.append((teacher_states(pairing), transfer.METHODS[name].masked_inputs))
    plan = TargetPlan(
        teacher=TEACHER, teacher_digest=teacher.facts.digest, corpus=str(folder), needs=needs_of(wants),
        blocks=tuple(np.unique(np.concatenate(visited)).tolist()), held_out=held_out_blocks(corpus), views=1,
        mask_fraction=TRAINING.mask_fraction, width=shape.hidden_size, sequence_length=SEQUENCE_LENGTH,
        bf16=use_bf16(TRAINING.teacher_precision, teacher.model.device, shape.hidden_size),
    )  # fmt: skip
    missing = unfinished_shards(plan)
    for count, (part, number) in enumerate(missing, start=1):
        build_shard(plan, part, number, teacher)
        print(f"targets: {count} of {len(missing)} shards", flush=True)
    write_plan(plan)
    return Prepared(folder, [prepare_task(task, teacher.tokenizer, cache_folder()) for task in TASKS], plan.folder)


def run(start: str, method: str, rate: float, seed: int, tokens: int, split: str, folders: Prepared) -> dict:
    """Raw scores of one student by task; no training at all for `untrained`."""
    torch.set_num_threads(1)
    teacher = load_teacher(TEACHER)
    extras = METHODS.get(method, {"mapping": "uniform"})
    config = {
        "method": "hs" if method == "untrained" else method, "initialisation": start, "learning_rate": rate,
        "batch_size": BATCH_SIZE, **asdict(parse_shape(SHAPE)), **extras,
    }  # fmt: skip
    corpus = open_corpus(folders.corpus)
    student = build_student(config, teacher, seed, corpus)
    seconds = 0.0
    if method != "untrained":
        try:
            outcome = distil(
                student, teacher, corpus, TrainingRun(config, tokens, seed, TRAINING), lambda report: None,
                targets=Targets(folders.targets),
            )  # fmt: skip
        except TrialFailed as error:
            return {"failed": str(error)}
        seconds = outcome.train_s
    return {"train_s": seconds} | scores(student, folders.tasks, split, seed)


def reference(kind: str, seed: int, split: str, folders: Prepared) -> dict:
    """The teacher, or an untrained encoder of its shape."""
    torch.set_num_threads(1)
    teacher = load_teacher(TEACHER)
    model = teacher.model
    if kind == "floor":
        config = {"method": "hs", "initialisation": "random", **asdict(teacher.facts.architecture)}
        model = build_student(config, teacher, seed)
    return scores(model, folders.tasks, split, seed)


def scores(model: torch.nn.Module, tasks: list[Path], split: str, seed: int) -> dict:
    """Probe scores by task."""
    loaded = [load_task(folder) for folder in tasks]
    return {task.name: score_task(model, task, EvaluationSpec(), [split], seed)[split].score for task in loaded}


class Results:
    """One JSON file per finished run, so that an interrupted benchmark goes on."""

    def __init__(self, folder: Path, workers: int):
        self.folder, self.workers = folder, workers
        folder.mkdir(parents=True, exist_ok=True)

    def compute(self, jobs: dict[str, tuple]) -> dict[str, dict]:
        """name -> (function, *arguments); returns name -> result."""
        missing = {name: job for name, job in jobs.items() if not (self.folder / f"{name}.json").is_file()}
        with ProcessPoolExecutor(self.workers) as pool:
            futures = {pool.submit(*job): name for name, job in missing.items()}
            for number, future in enumerate(as_completed(futures), start=1):
                name = futures[future]
                (self.folder / f"{name}.json").write_text(json.dumps(future.result()))
                print(f"{number} of {len(missing)}: {name}", flush=True)
        return {name: json.loads((self.folder / f"{name}.json").read_text()) for name in jobs}


def main() -> None:
    """Tune, run, print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--tokens", type=int, default=400_000, help="tokens of each run")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, one thread each")
    options = parser.parse_args()
    folders = prepare(options.tokens)
    results = Results(options.out, options.workers)
    references = results.compute({
        f"{kind}-{split}-{seed}": (reference, kind, seed, split, folders)
        for split in ("dev", "test") for kind in ("teacher", "floor") for seed in SEEDS
    })  # fmt: skip

    def quality(row: dict, split: str) -> float:
        if "failed" in row:
            return -np.inf
        shares = []
        for task in (task.name for task in TASKS):
            top, floor = (
                float(np.mean([references[f"{kind}-{split}-{seed}"][task] for seed in SEEDS]))
                for kind in ("teacher", "floor")
            )
            shares.append(recovered(row[task], top, floor))
        return float(np.mean(shares))

    tuned = results.compute({
        f"tune-{start}-{method}-{rate:g}": (run, start, method, rate, TUNING_SEED, options.tokens // 2, "dev", folders)
        for start in STARTS for method in METHODS for rate in LEARNING_RATES
    })  # fmt: skip
    best = {
        (start, method): max(
            LEARNING_RATES, key=lambda rate, s=start, m=method: quality(tuned[f"tune-{s}-{m}-{rate:g}"], "dev")
        )
        for start in STARTS
        for method in METHODS
    }
    rows = results.compute({
        f"run-{start}-{method}-{seed}": (
            run, start, method, best.get((start, method), 0.0), seed, options.tokens, "test", folders
        )
        for start in STARTS for method in ("untrained", *METHODS) for seed in SEEDS
    })  # fmt: skip
    names = [task.name for task in TASKS]
    print(f"\n{SHAPE}, {options.tokens:,} tokens; {hardware()}; torch {versions()['torch']}\n")
    print(f"| start | method | learning rate | quality, mean of 3 seeds | each seed | {' | '.join(names)} | seconds |")
    print("| --- | --- | --- | --- | --- |" + " --- |" * (len(names) + 1))
    for start in STARTS:
        for method in ("untrained", *METHODS):
            mine = [rows[f"run-{start}-{method}-{seed}"] for seed in SEEDS]
            each = [quality(row, "test") for row in mine]
            rate = f"{best[start, method]:g}" if method in METHODS else ""
            scores_by_task = [f"{np.mean([row.get(name, np.nan) for row in mine]):.3f}" for name in names]
            seconds = np.mean([row.get("train_s", np.nan) for row in mine])
            print(
                f"| {start} | {method} | {rate} | {np.mean(each):.3f} | {', '.join(f'{q:.3f}' for q in each)} | "
                f"{' | '.join(scores_by_task)} | {seconds:.0f} |"
            )
    for kind in ("teacher", "floor"):
        means = {t.name: np.mean([references[f"{kind}-test-{seed}"][t.name] for seed in SEEDS]) for t in TASKS}
        print(f"\n{kind}: " + ", ".join(f"{task} {value:.3f}" for task, value in means.items()))


if __name__ == "__main__":
    main()
