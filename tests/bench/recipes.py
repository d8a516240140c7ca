"""Do recipes of related work pay? Stages, supplementary text and mixup against plain methods at equal tokens.

Students of the embedded teacher from evenly spaced layers (`projected_layers`) or its embeddings alone (`projected`).
One part trains on the docs corpus. The other is the case of supplementary tasks: the target is the text of one labelled
task (`order`, 800 texts), the supplement the docs corpus. Quality is the mean share recovered on dev.

    python tests/bench/recipes.py --out recipes.jsonl            # resumable, one core
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from starts import EXACT, TASKS

from search.phases.trimming import texts_of
from spaces.records.shares import mean_share
from spaces.students.architecture import parse_shape
from trainables.cache import cache_folder
from trainables.models.student import build_student, untrained
from trainables.models.teacher import load_teacher
from trainables.tasks.prepare import read_task
from trainables.tasks.scoring import load_task, prepare_task, recovered, score_task
from trainables.tasks.spec import EvaluationSpec
from trainables.text.corpus import Corpus, open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun

STAGES = "hs + mha for 0.6 then od unfreezing for 0.2 then mlm unfreezing"
AXES = {"relation_heads": 12, "teacher_layer": 6, "temperature": 1.0, "mapping": "uniform"}
LAST = {"mapping": "last"}
SETUPS = (
    # corpus, name, method and axes, start, mixup
    *(("docs", {"method": method, **more}, "projected_layers", mixup) for method, more, mixup in (
        ("hs", {}, 0.0), ("mha", {}, 0.0), ("mha", {}, 0.1), ("hs + mha", LAST, 0.0), (STAGES, LAST, 0.0),
        ("hs + mha for 0.6 then od for 0.2 then mlm", LAST, 0.0),
    )),
    *(("docs", {"method": method, **more}, "projected", 0.0) for method, more in (
        ("hs", {}), (STAGES, LAST),
    )),
    *(("order", {"method": method}, "projected_layers", mixup) for method, mixup in (
        ("hs", 0.0), ("mha", 0.0), ("mha", 0.1), ("mha on supplement", 0.0), ("mha on supplement then mha", 0.0),
        ("mha on supplement then mha", 0.1),
    )),
)  # fmt: skip
TARGET_TEXTS = 800
SPEC = CorpusSpec("docs", 64, max_tokens=2_000_000)


def main() -> None:
    """Every setup, shape and seed that is not in the file yet; a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=130_000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--shapes", nargs="+", default=("2x96", "3x144"))
    parser.add_argument("--seeds", nargs="+", type=int, default=(1, 2))
    parser.add_argument("--corpora", nargs="+", default=("docs", "order"))
    parser.add_argument("--examples", type=int, default=1000, help="of the dev split of each task")
    options = parser.parse_args()
    teacher = load_teacher("package:trainables/embedded_teacher")
    target = options.out.with_name("order.txt")
    _, rows, _ = read_task(next(task for task in TASKS if task.name == "order"), print)
    target.write_text("\n".join(" ".join(text.split()) for text in islice(texts_of(rows["train"]), TARGET_TEXTS)))
    own = replace(SPEC, source=str(target.resolve()), supplement=SPEC.source)
    corpora = {
        name: open_corpus(prepare_corpus(spec, teacher.tokenizer))
        for name, spec in {"docs": SPEC, "order": own}.items()
    }
    print(", ".join(f"{name}: {len(each.train):,} blocks of 64 tokens" for name, each in corpora.items()), flush=True)
    asked_of = [replace(task, max_dev=options.examples) for task in TASKS]
    tasks = {task.name: load_task(str(prepare_task(task, teacher.tokenizer, cache_folder()))) for task in asked_of}

    def scores(model: torch.nn.Module, seed: int) -> dict[str, float]:
        model.eval()
        return {n: score_task(model, task, EvaluationSpec(), ["dev"], seed)["dev"].score for n, task in tasks.items()}

    known = options.out.read_text().splitlines() if options.out.exists() else []
    found = {json.dumps((line := json.loads(each))["asked"]): line for each in known}

    def once(asked: dict, compute: Callable[[], dict]) -> dict:
        """The line of a question, written when it is first answered."""
        if (key := json.dumps(asked)) not in found:
            found[key] = {"asked": asked, **compute()}
            with options.out.open("a") as out:
                print(json.dumps(found[key]), file=out, flush=True)
            print(json.dumps(found[key]), flush=True)
        return found[key]

    best = once({"model": "teacher"}, lambda: scores(teacher.model, 0))
    floors = [
        once({"model": "floor", "seed": s}, lambda s=s: scores(untrained(teacher, teacher.facts.architecture, s), s))
        for s in range(3)
    ]
    floor = {name: sum(each[name] for each in floors) / len(floors) for name in tasks}

    def student(config: dict, seed: int, corpus: Corpus, mixup: float) -> dict:
        model = build_student(config, teacher, seed, corpus)
        run = TrainingRun(config, options.tokens, seed, replace(EXACT, mixup=mixup))
        trained = distil(model, teacher, corpus, run, lambda report: None)
        shares = {name: recovered(score, best[name], floor[name]) for name, score in scores(model, seed).items()}
        return {"quality": mean_share(shares, {}), "train_s": trained.train_s, **shares}

    for seed in options.seeds:
        for shape in options.shapes:
            architecture = parse_shape(shape, teacher.facts.architecture.head_size)
            for corpus, learns, start, mixup in (setup for setup in SETUPS if setup[0] in options.corpora):
                asked = {"corpus": corpus, "shape": shape, "start": start, "mixup": mixup, "seed": seed, **learns}
                config = {
                    **AXES, **vars(architecture), "initialisation": start, "learning_rate": options.rate,
                    "batch_size": 16, **learns,
                }  # fmt: skip
                once(asked, lambda config=config, s=seed, text=corpora[corpus], m=mixup: student(config, s, text, m))


if __name__ == "__main__":
    main()
