"""Corpus and tasks of a study, cut and tokenised for its trials."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from search.spec.sections import StudySpec
from spaces.errors import SpecError
from spaces.records.data import DataFacts, TaskFacts, corpus_lines, task_lines
from spaces.telling import Say, announced, quiet
from spaces.values import to_json
from trainables.cache import cache_folder, digest, store_value
from trainables.models.classes import class_places
from trainables.models.embedding import Embedder, embedder_of
from trainables.models.encoder import classes_of
from trainables.models.teacher import Teacher
from trainables.tasks.facts import task_facts
from trainables.tasks.index import with_index
from trainables.tasks.prepare import FORMAT
from trainables.tasks.prompts import OF_DOCUMENTS, OF_QUERIES, first_prompt
from trainables.tasks.scoring import TaskData, load_task, prepare_task
from trainables.tasks.spec import CLASSIFIER, EvaluationSpec, TaskSpec, protocol_for
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.corpus_files import corpus_files, names_of
from trainables.text.docstrings import docs_place
from trainables.text.packing import tokenizer_digest
from trainables.text.shards import Cutters, alone
from trainables.text.sources import CorpusSpec, TextSource


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """Folders in the cache, and what is in them."""

    corpus: Path
    tasks: dict[str, Path]
    facts: DataFacts


def prepare_data(
    spec: StudySpec, teacher: Teacher, say: Say, cutters: Callable[[TextSource], Cutters] = alone
) -> PreparedData:
    """Corpus and tasks, tokenised for students; single texts after the teacher's prompt. `cutters`: as prepare_corpus.

    Where students have a tokenizer of their own, all of it stands in the teacher's tokens as well.
    Raises one SpecError with everything that is wrong with them.
    """
    source = teacher.source
    tokenizer, embedder = source.tokenizer, embedder_of(source.model)
    teachers = None if source is teacher else teacher.tokenizer
    problems: list[str] = []
    folders: dict[str, Path] = {}
    tasks: dict[str, TaskFacts] = {}
    try:
        prompts = corpus_prompts(spec.corpus, embedder)
        folder = prepare_corpus(spec.corpus, tokenizer, say, *prompts, teachers, cutters)
        corpus = dataclasses.replace(open_corpus(folder).facts, files=file_names(spec.corpus))
        for line in corpus_lines(corpus):
            say(f"corpus: {line}")
        class_places("[corpus] label_column:", classes_of(teacher.model), corpus.classes)
        if (supplement := open_corpus(folder).supplement) is not None:
            for line in corpus_lines(supplement.facts):
                say(f"supplement: {line}")
    except SpecError as error:
        problems += error.problems
    for task in announced(spec.tasks, "tasks read: {}", say):
        notes: list[str] = []
        try:
            folders[task.name] = prepare_for_both(spec.evaluation, task, teacher, noted(task, notes))
        except SpecError as error:
            problems += error.problems
            continue
        data = load_task(folders[task.name])
        found = task_facts(data.meta, data.splits, data.label_names, tokenizer.unk_token_id, notes)
        tasks[task.name] = found
        for line in task_lines(found):
            say(f"task {task.name}: {line}")
        problems += class_problems(spec.evaluation, data, teacher)
        if task.source.startswith("docs:") and not (looked := looked_at(task, tokenizer, embedder)).is_dir():
            store_value(looked, {"facts": to_json(found)})
    if problems:
        raise SpecError(problems)
    return PreparedData(folder, folders, DataFacts(corpus, tasks))


def class_problems(evaluation: EvaluationSpec, task: TaskData, teacher: Teacher) -> list[str]:
    """What is wrong with the classes of a task that is scored by the teacher's own head."""
    try:
        if protocol_for(task.kind, evaluation.protocol) == CLASSIFIER:
            class_places(f"task {task.name!r}:", classes_of(teacher.model), task.label_names)
    except SpecError as error:
        return list(error.problems)
    return []


def prepare_for_both(evaluation: EvaluationSpec, task: TaskSpec, teacher: Teacher, say: Say) -> Path:
    """A task as students read it; what the teacher reads is found from there (`as_teacher_reads`)."""
    found: Path | None = None
    for each, tell in ((teacher, quiet), (teacher.source, say)) if teacher.reworded else ((teacher, say),):
        own = embedder_of(each.model)
        found = prepare_task(task, each.tokenizer, cache_folder(), embedder=own, say=tell, teachers=found)
        if evaluation.documents == "teacher":
            found = with_index(found, teacher) or found
    assert found is not None
    return found


def looked_at(task: TaskSpec, tokenizer: PreTrainedTokenizerBase | None, embedder: Embedder | None) -> Path:
    """Where the facts of a task of docstrings are kept, which are the same as long as the installed packages are."""
    read_by = None if tokenizer is None else tokenizer_digest(tokenizer), embedder and embedder.identity()
    key = digest(FORMAT, docs_place().parent.name, dataclasses.astuple(task), *read_by)
    return cache_folder() / "looked" / key


def corpus_prompts(spec: CorpusSpec, embedder: Embedder) -> tuple[str, str]:
    """The prompts of the corpus's texts and of its queries.

    Raises SpecError where they differ although the teacher leaves its prompt out of the pooling.
    """
    if spec.queries is None:
        return embedder.prompt, ""
    found = first_prompt(embedder, OF_DOCUMENTS), first_prompt(embedder, OF_QUERIES)
    if not embedder.include_prompt and set(found) != {embedder.prompt}:
        raise SpecError(
            [
                f"[corpus] queries: the teacher does not pool its prompts, of which a study knows one, here "
                f"{embedder.prompt!r}; queries stand after {found[1]!r} and texts after {found[0]!r}. Leave queries out"
            ]
        )
    return found


def noted(task: TaskSpec, notes: list[str]) -> Say:
    """Keeps what is said of the source of a task, without its name."""
    return lambda line: notes.append(line.removeprefix(f"task {task.name}: "))


def file_names(spec: CorpusSpec) -> dict[str, tuple[str, ...]]:
    """What the files of a corpus are used for; nothing where it is not of files."""
    of_files = spec.source != "docs" and not spec.source.startswith("hub:")
    return names_of(corpus_files(spec.source)) if of_files else {}
