"""Does training pay? Starts of students of the embedded teacher, scored before and after training, by what they learn.

Each shape starts from the teacher's first layers and from evenly spaced ones, and learns under several mappings of
hidden states and under other methods, with the product's own loop. `quality` is that of a search, each share recovered
counted as 1 at most; `mean` counts them as they are. Both are on the dev splits of the docs tasks. One line of JSON for
each run; run it again to go on.

    python tests/bench/starts.py --out starts.jsonl      # about two hours on two cores; uses a GPU if there is one
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from spaces.records.shares import mean_share
from spaces.students.architecture import parse_shape
from trainables.cache import cache_folder
from trainables.models.student import build_student, untrained
from trainables.models.teacher import load_teacher
from trainables.tasks.scoring import load_task, prepare_task, recovered, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun, TrainingSpec

TASK = TaskSpec("", "", "classification", max_train=800, max_test=500, max_length=64)
LARGER = {"max_train": 2000, "max_test": 1000}
TASKS = (
    replace(TASK, name="package", source="docs:package"),
    replace(TASK, name="pairs", source="docs:pairs", kind="pair_classification"),
    replace(TASK, name="order", source="docs:order", **LARGER),
    replace(TASK, name="missing", source="docs:missing", kind="token_classification", **LARGER),
)
SHAPES = ("2x96", "3x144", "3x192")
STARTS = ("first_layers", "projected_layers")
LEARNS = (
    *({"method": "hs", "mapping": mapping} for mapping in ("first", "uniform", "last")),
    {"method": "mha", "relation_heads": 12, "teacher_layer": 6},
    {"method": "mha_direct", "teacher_layer": 6},
    {"method": "od", "temperature": 2.0},
    {"method": "mlm"},
    {"method": "od + hs", "mapping": "uniform", "temperature": 2.0},
)
EXACT = TrainingSpec(precision="fp32", teacher_precision="fp32")


def main() -> None:
    """Every start, untrained and under every way to learn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=130_000, help="0: nothing is trained")
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--starts", nargs="+", default=STARTS)
    parser.add_argument("--examples", type=int, default=1000, help="of the dev split of each task")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    teacher = load_teacher("package:trainables/embedded_teacher")
    corpus = open_corpus(Path(prepare_corpus(CorpusSpec("docs", 64, max_tokens=2_000_000), teacher.tokenizer)))
    asked_of = [replace(task, max_dev=options.examples) for task in TASKS]
    tasks = {task.name: load_task(str(prepare_task(task, teacher.tokenizer, cache_folder()))) for task in asked_of}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    teacher.model.to(device)

    def scores(model, seed):
        model.to(device).eval()
        return {n: score_task(model, task, EvaluationSpec(), ["dev"], seed)["dev"].score for n, task in tasks.items()}

    best, floors = (
        scores(teacher.model, 0),
        [scores(untrained(teacher, teacher.facts.architecture, s), s) for s in range(3)],
    )
    floor = {name: sum(each[name] for each in floors) / len(floors) for name in tasks}
    known = options.out.read_text().splitlines() if options.out.exists() else []
    done = {json.dumps(json.loads(line)["asked"]) for line in known}
    for shape in options.shapes:
        architecture = parse_shape(shape, teacher.facts.architecture.head_size)
        for start in options.starts:
            for seed in range(1, options.seeds + 1):
                for learns in ({"method": "mlm", "tokens": 0}, *(LEARNS if options.tokens else ())):
                    asked = {"shape": shape, "start": start, "seed": seed, **learns}
                    if json.dumps(asked) in done:
                        continue
                    config = {
                        **vars(architecture), "initialisation": start, "learning_rate": 1e-3, "batch_size": 16, **learns
                    }  # fmt: skip
                    student = build_student(config, teacher, seed, corpus).to(device)
                    if learns.get("tokens") != 0:
                        run = TrainingRun(config, options.tokens, seed, EXACT)
                        distil(student, teacher, corpus, run, lambda report: None)
                    found = {n: recovered(score, best[n], floor[n]) for n, score in scores(student, seed).items()}
                    quality = {"quality": mean_share(found, {}), "mean": sum(found.values()) / len(found)}
                    line = json.dumps({"asked": asked, **quality, **found})
                    with options.out.open("a") as out:
                        print(line, file=out, flush=True)
                    print(line, flush=True)


if __name__ == "__main__":
    main()
