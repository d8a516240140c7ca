"""Everything that a study reads, ready for use; and what it is, known by content and never by path."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from search.phases.cutting import cutters_of
from search.phases.data import PreparedData, prepare_data
from search.phases.teacher_doors import class_lines, mask_problems, student_lines, texts_of, tokenizer_lines
from search.spec.sections import StudySpec
from search.store.contents import STUDENTS_TOKENIZER, Contents
from search.store.parts import Store
from spaces.errors import SpecError
from spaces.records.contents import DIGITS, Content, Part, files_part
from spaces.students.architecture import count_parameters
from spaces.telling import Say
from trainables.cache import content_digests, digest
from trainables.models.embedding import embedder_of, embedding_line
from trainables.models.loading import weight_files
from trainables.models.teacher import (
    TOKENIZER_FILES,
    Teacher,
    for_nodes,
    load_teacher,
    resolve_model_folder,
    resolve_tokenizer,
)
from trainables.models.tokenizer import FILES
from trainables.tasks.prepare import rows_of_task
from trainables.text.sources import source_files

BESIDE_TOKENIZER = (*FILES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
"""Everything that makes a tokenizer what it is."""
BESIDE_WEIGHTS = (
    "config.json", *BESIDE_TOKENIZER,
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "*/config.json",
)  # fmt: skip
"""What else of a model's folder says how it reads and what comes out."""


STEPS = ("teacher", "corpus and tasks", "scores", "costs", "teacher's states")
"""Of the preparation, as they are told."""


@dataclass(frozen=True)
class Inputs:
    """What a study reads."""

    teacher: Teacher
    data: PreparedData
    contents: Contents
    prepare_s: float
    """What reading and cutting took."""


def read_inputs(spec: StudySpec, step: Say, say: Say) -> Inputs:
    """Load the teacher, cut corpus and tasks; `step` tells that the next of STEPS begins.

    Raises SpecError with everything that is wrong with them.
    """
    started = time.perf_counter()
    step(spec.teacher.path)
    teacher = load_teacher(spec.teacher.path, spec.embedding, spec.student.tokenizer)
    if problems := mask_problems(spec.space, teacher):
        raise SpecError(problems)
    facts = teacher.facts
    parameters = count_parameters(facts.architecture, facts.itself)
    say(f"{facts.name}: {facts.family.name} {facts.architecture.name}, {parameters:,} parameters")
    say(embedding_line(embedder_of(teacher.model)))
    of_words = tokenizer_lines(spec.teacher.path, teacher, texts_of(spec))
    for line in (*class_lines(teacher), *of_words, *student_lines(spec, teacher)):
        say(line)
    step(spec.corpus.source)
    data = prepare_data(spec, teacher, say, partial(cutters_of, say, spec.corpus.max_tokens))
    return Inputs(teacher, data, contents_of(spec, data.tasks), time.perf_counter() - started)


def as_nodes_read(spec: StudySpec) -> StudySpec:
    """The spec with the models that are read on all nodes as those find them: teacher, students' tokenizer, start."""
    tokenizer, start = spec.student.tokenizer, spec.training.start
    return dataclasses.replace(
        spec,
        teacher=dataclasses.replace(spec.teacher, path=for_nodes(spec.teacher.path)),
        student=dataclasses.replace(spec.student, tokenizer=tokenizer and for_nodes(tokenizer, TOKENIZER_FILES)),
        training=dataclasses.replace(spec.training, start=start and for_nodes(start)),
    )


def contents_of(spec: StudySpec, tasks: Mapping[str, Path]) -> Contents:
    """Of the teacher, the corpus, the prepared tasks and what the study starts from."""
    found: dict[str, Content] = {
        "teacher": model_files(resolve_model_folder(spec.teacher.path)),
        "corpus": {"files": files_part(source_files(spec.corpus, lambda line: None))},
    }
    for name, folder in tasks.items():
        found[f"task {name!r}"] = {
            split: Part(tuple(f"{row:016x}"[:DIGITS] for row in rows.tolist()))
            for split, rows in rows_of_task(folder).items()
        }
    if spec.student.tokenizer is not None:
        found[STUDENTS_TOKENIZER] = {"files": tokenizer_files(resolve_tokenizer(spec.student.tokenizer))}
    if spec.training.start is not None:
        found["start"] = model_files(Path(spec.training.start))
    for number, study in enumerate(spec.search.warm_start, 1):
        found[f"warm start {number}"] = {"trials": trials_of(Store(study))}
    return found


def model_files(folder: Path) -> Content:
    """Everything that makes a model what it is."""
    beside = {path for pattern in BESIDE_WEIGHTS for path in folder.glob(pattern)}
    paths = [*weight_files(folder), *sorted(beside)]
    digests = content_digests(paths)
    return {"files": files_part({path.relative_to(folder).as_posix(): digests[path] for path in paths})}


def tokenizer_files(folder: Path) -> Part:
    """What of a folder says how its tokenizer cuts texts."""
    paths = sorted(path for name in BESIDE_TOKENIZER if (path := folder / name).is_file())
    digests = content_digests(paths)
    return files_part({path.name: digests[path] for path in paths})


def trials_of(store: Store) -> Part:
    """The trials of an earlier study, in their order; those that it adds later change nothing."""
    rows = sorted(store.read_trials(), key=lambda row: row.trial)
    return Part(
        tuple(digest(row.config_hash, row.status, row.rank_quality, row.train_tokens)[:DIGITS] for row in rows),
        grows=True,
    )
