"""What a student's shape is worth without distillation: the teacher's own layers, cut to it and scored."""

import functools
from collections.abc import Iterator
from typing import Any

from search.phases.encoders import put_on_device, score_cut, score_cut_there
from search.phases.forecast import seconds_of_tests
from search.phases.spreading import spread
from search.spec.sections import StudySpec
from search.store.parts import Store
from spaces.records.data import DataFacts
from spaces.students.architecture import SHAPE_KEYS, StudentArchitecture, architecture_of
from spaces.telling import Say, announced
from trainables.lanes.kept import kept_corpus, kept_task
from trainables.lanes.messages import TrialJob
from trainables.models.student import TRUNCATIONS
from trainables.models.teacher import load_teacher
from trainables.tasks.data import TaskData
from trainables.tasks.scores import EncoderScore, Reference
from trainables.tasks.scoring import recovered


def score_baselines(spec: StudySpec, store: Store, data: DataFacts | None, job: TrialJob, say: Say) -> None:
    """Score every truncation to each shape of a comparison that is of the teacher's family.

    `job` is what all trials share: teacher, corpus, tasks and the scores of teacher and floor.
    """
    rows = [row for row in store.read_trials() if row.status == "finished"]
    shapes = sorted(
        {shape for row in rows if (shape := architecture_of(row.config)).family is None},
        key=lambda shape: (shape.num_layers, shape.hidden_size),
    )
    kept: list[Any] = store.read_rows("baselines")
    missing = [shape for shape in shapes if shape not in {architecture_of(row) for row in kept}]
    if not missing:
        return
    say(f"the teacher cut to {len(missing)} shape{'s' * (len(missing) > 1)}, without distillation")
    loaded = load_teacher(spec.teacher.path, spec.embedding, spec.student.tokenizer)
    teacher = put_on_device(loaded.source, spec)
    calls = [
        (shape, which, splits_of(job, shape, teacher.facts.architecture)) for shape in missing for which in TRUNCATIONS
    ]
    expected_s = seconds_of_tests(spec, data, teacher.facts, [shape for shape, *_ in calls])
    scored = spread(
        spec, functools.partial(score_cut, teacher, kept_corpus(job.corpus), spec),
        functools.partial(score_cut_there, job.corpus), calls, expected_s, "the cut teacher could not be scored",
    )  # fmt: skip
    for shape in announced(missing, "the teacher cut to shapes: {}", say):
        for which in TRUNCATIONS:
            kept += rows_of(job, shape, which, next(scored))
    store.write_part("baselines", 0, kept)


def splits_of(job: TrialJob, shape: StudentArchitecture, teacher: StudentArchitecture) -> dict[str, tuple[str, ...]]:
    """The splits on which a shape is scored, by the folder of a task."""
    found = {}
    for folder in job.tasks:
        task = kept_task(folder)
        if task.index_NE is not None and shape.hidden_size != teacher.hidden_size:
            continue  # its embeddings are not as wide as those of the documents, and nothing maps them
        found[folder] = tuple(by_split(job, task))
    return found


def by_split(job: TrialJob, task: TaskData) -> dict[str, Reference]:
    """Teacher and floor on the splits of a task on which the study knows them."""
    return {
        split: references[task.name]
        for split, references in (("dev", job.floors), ("test", job.test_floors))
        if task.name in references and split in task.splits
    }


def rows_of(
    job: TrialJob, shape: StudentArchitecture, which: str, scores: dict[str, dict[str, EncoderScore]]
) -> Iterator[dict[str, Any]]:
    """The rows of a cut, one for each task and split."""
    for folder, found in scores.items():
        task = kept_task(folder)
        for split, reference in by_split(job, task).items():
            own = found[split]
            yield {
                "kept": which, **{key: getattr(shape, key) for key in SHAPE_KEYS}, "task": task.name,
                "split": split, "protocol": own.protocol, "score": own.score,
                "recovered": recovered(own.score, reference.teacher, reference.floor),
                "metric": own.metric,
            }  # fmt: skip
