"""After the search: the students on the front meet the test splits, once."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from search.phases.encoders import put_on_device, score_student, score_student_there
from search.phases.forecast import seconds_of_tests
from search.phases.scoring import score_all
from search.phases.spreading import spread
from search.phases.students import FLOOR, TEACHER
from search.spec.sections import StudySpec
from search.store.parts import Store
from spaces.records.data import DataFacts
from spaces.records.fronts import front_of
from spaces.records.meta import StudyMeta
from spaces.records.rows import TrialRow
from spaces.students.architecture import architecture_of
from spaces.telling import Say, announced
from trainables.copies import at_hand
from trainables.lanes.messages import TrialJob
from trainables.models.teacher import load_teacher
from trainables.tasks.prepare import as_teacher_reads
from trainables.tasks.scores import EncoderScore, MeasuredReference
from trainables.tasks.scoring import load_task, recovered


def score_front(spec: StudySpec, store: Store, meta: StudyMeta, job: TrialJob, say: Say) -> None:
    """Test scores of teacher, floor and every member of the front; what is already scored stays.

    `job` is what all trials share: corpus and tasks.
    """
    members = [row for row in front_of(store.read_trials(), meta.aim) if row.student_path]
    score_tests(spec, store, members, meta.data, job.corpus, job.tasks, say)


def score_tests(
    spec: StudySpec,
    store: Store,
    members: Sequence[TrialRow],
    data: DataFacts | None,
    corpus: str,
    task_folders: Sequence[str],
    say: Say,
) -> None:
    """Test scores of teacher, floor and these trials, as the study deploys them.

    Corpus and tasks as jobs name them. A member of the study is scored once.
    """
    folders = {folder: at_hand(folder) for folder in task_folders}
    loaded = {folder: load_task(path) for folder, path in folders.items()}
    tasks = {task.name: folder for folder, task in loaded.items() if "test" in task.splits}
    done = set(store.numbers("test_scores"))
    missing = [row for row in members if row.trial not in done]
    if not tasks or not members or (not missing and TEACHER in done):
        return
    students, floors = len(missing), spec.evaluation.floor_seeds
    own = f" and {students} student{'s' * (students > 1)}" if missing else ""
    say(f"test scores of teacher, {floors} untrained encoder{'s' * (floors > 1)}{own}")
    teacher = put_on_device(load_teacher(spec.teacher.path, spec.embedding), spec)
    told = {name: as_teacher_reads(folders[folder]) for name, folder in tasks.items()}
    expected_s = seconds_of_tests(spec, data, teacher.facts, [teacher.facts.architecture] * (1 + floors))
    references = score_all(spec, teacher, told, ["test"], say, expected_s=expected_s)["test"]
    for number in (TEACHER, FLOOR):
        its = number == TEACHER
        rows = [
            {"trial": number, "task": name, "protocol": each.teacher.protocol,
             "score": each.teacher.score if its else each.floor, "recovered": float(its),
             "layer": each.teacher.layer if its else None, "metric": each.teacher.metric}
            for name, each in references.items()
        ]  # fmt: skip
        store.write_part("test_scores", number, rows)
    expected_s = seconds_of_tests(spec, data, teacher.facts, [architecture_of(row.config) for row in missing])
    scored = spread(
        spec, functools.partial(score_student, store, spec), functools.partial(score_student_there, store.uri()),
        [(row, corpus, tasks) for row in missing], expected_s, "the front could not be scored on the test splits",
    )  # fmt: skip
    for member in announced(missing, "test scores: {} students", say):
        store.write_part("test_scores", member.trial, test_rows(member, next(scored), references))


def test_rows(
    member: TrialRow, scores: Mapping[str, EncoderScore], references: Mapping[str, MeasuredReference]
) -> list[dict[str, Any]]:
    """The rows of a student, one for each task."""
    rows = []
    for name, own in scores.items():
        reference = references[name].reference
        rows.append({
            "trial": member.trial, "task": name, "protocol": own.protocol, "score": own.score,
            "recovered": recovered(own.score, reference.teacher, reference.floor), "layer": own.layer,
            "metric": own.metric,
        })  # fmt: skip
    return rows
