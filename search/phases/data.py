"""Corpus and tasks of a study: cut and tokenised for its trials, or only looked at by `check`.

`look_at` opens the same doors as `prepare_data` and finds the same problems, but writes nothing and reads of a large
corpus a sample.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from search.spec.reading import Unsound
from search.spec.sections import StudySpec
from spaces.errors import SpecError
from spaces.records.data import CorpusFacts, DataFacts, TaskFacts, corpus_lines, task_lines
from spaces.students.architecture import TeacherFacts
from spaces.telling import Say, announced
from trainables.cache import cache_folder
from trainables.models.embedding import Embedder, embedder_of
from trainables.models.teacher import Teacher, resolve_model_folder
from trainables.models.tokenizer import load_tokenizer
from trainables.tasks.facts import task_facts
from trainables.tasks.index import with_index
from trainables.tasks.kinds import KINDS
from trainables.tasks.prepare import cut_rows, labels_dropped, read_task
from trainables.tasks.prompts import OF_DOCUMENTS, OF_QUERIES, first_prompt
from trainables.tasks.scoring import load_task, prepare_task
from trainables.tasks.spec import TaskSpec, task_problems
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.corpus_files import corpus_files, names_of
from trainables.text.docstrings import docs_are_built
from trainables.text.file_texts import file_texts
from trainables.text.language_mix import languages_of
from trainables.text.packing import unknown_share
from trainables.text.sources import CorpusSpec, queries_of, told_as_queries
from trainables.text.tables import count_rows

SAMPLE_ROWS = 200
"""Of each split of a task, by which `check` tells shares."""
SAMPLE_TEXTS = 100
"""The first of each file of a corpus."""
MAX_FILES, MAX_TEXTS, SAMPLE_CHARACTERS = 300, 2000, 2000
"""Files that are opened, texts that are tokenised, and how much of each: more would take too long."""


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """Folders in the cache, and what is in them."""

    corpus: Path
    tasks: dict[str, Path]
    facts: DataFacts


def prepare_data(spec: StudySpec, teacher: Teacher, say: Say) -> PreparedData:
    """Corpus and tasks, tokenised; single texts after the teacher's prompt.

    Raises one SpecError with everything that is wrong with them.
    """
    tokenizer, embedder = teacher.tokenizer, embedder_of(teacher.model)
    problems: list[str] = []
    folders: dict[str, Path] = {}
    tasks: dict[str, TaskFacts] = {}
    try:
        folder = prepare_corpus(spec.corpus, tokenizer, say, *corpus_prompts(spec.corpus, embedder))
        corpus = dataclasses.replace(open_corpus(folder).facts, files=file_names(spec.corpus))
        for line in corpus_lines(corpus):
            say(f"corpus: {line}")
    except SpecError as error:
        problems += error.problems
    for task in announced(spec.tasks, "tasks read: {}", say):
        notes: list[str] = []
        try:
            say_of_task = noted(task, notes)
            folders[task.name] = prepare_task(task, tokenizer, cache_folder(), embedder=embedder, say=say_of_task)
        except SpecError as error:
            problems += error.problems
            continue
        if spec.evaluation.documents == "teacher" and (indexed := with_index(folders[task.name], teacher)) is not None:
            folders[task.name] = indexed
        data = load_task(folders[task.name])
        found = task_facts(data.meta, data.splits, data.label_names, tokenizer.unk_token_id, notes)
        tasks[task.name] = found
        for line in task_lines(found):
            say(f"task {task.name}: {line}")
    if problems:
        raise SpecError(problems)
    return PreparedData(folder, folders, DataFacts(corpus, tasks))


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
    return names_of(corpus_files(spec.source), spec.source) if of_files else {}


def look_at_texts(spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase | None) -> CorpusFacts:
    """`look_at_corpus` of the texts, once the queries were looked at in the same way."""
    problems: list[str] = []
    if (queries := queries_of(spec)) is not None:
        try:
            with told_as_queries():
                look_at_corpus(queries, None)
        except SpecError as error:
            problems += error.problems
    try:
        found = look_at_corpus(spec, tokenizer)
    except SpecError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


def look_at(draft: Any, teacher: TeacherFacts | None, problems: list[str]) -> DataFacts:
    """What a study would read, as far as its spec is sound; what is wrong with corpus and tasks goes to `problems`.

    Of sources on the hub nothing is downloaded. Shares and sizes of the corpus are estimated.
    """
    tokenizer = own_tokenizer(draft, teacher)
    corpus, tasks = CorpusFacts(), {}
    try:
        corpus = look_at_texts(CorpusSpec(**sound(draft.corpus, CorpusSpec)), tokenizer)
    except Unsound:
        pass
    except SpecError as error:
        problems += error.problems
    for task in sound_tasks(draft):
        try:
            tasks[task.name] = look_at_task(task, tokenizer)
        except SpecError as error:
            problems += error.problems
    return DataFacts(corpus, {name: facts for name, facts in tasks.items() if facts is not None})


def own_tokenizer(draft: Any, teacher: TeacherFacts | None) -> PreTrainedTokenizerBase | None:
    """The teacher's, if it can be loaded; what is wrong with it is for the teacher's own door to say."""
    try:
        if teacher is None:
            return None
        folder = resolve_model_folder(draft.teacher.path)
        return load_tokenizer(folder, teacher.vocab_size, teacher.max_positions)
    except (Unsound, SpecError):
        return None


def sound(draft: Any, section: type) -> dict[str, Any]:
    """All fields of a section. Raises Unsound where one could not be read."""
    return {field.name: getattr(draft, field.name) for field in dataclasses.fields(section)}


def sound_tasks(draft: Any) -> Iterator[TaskSpec]:
    """The tasks of which every setting could be read."""
    try:
        drafts = draft.tasks
    except Unsound:
        return
    for each in drafts:
        try:
            task = TaskSpec(**sound(each, TaskSpec))
        except Unsound:
            continue
        if task.kind in KINDS and not task_problems(task):
            yield task


def look_at_corpus(spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase | None) -> CorpusFacts:
    """The facts of a corpus of files, estimated from the first texts of each of them."""
    names = file_names(spec)
    if not names:
        return CorpusFacts()
    if spec.language_temperature is not None:
        languages_of(spec)
    files = corpus_files(spec.source)
    problems: list[str] = []
    texts: list[str] = []
    size = 0.0
    for path in [*some(files["train"], MAX_FILES), *some(files["held_out"], MAX_FILES)]:
        try:
            found = list(itertools.islice(file_texts(path, spec.text_column), SAMPLE_TEXTS))
        except SpecError as error:
            problems += error.problems
            continue
        if path in files["train"]:
            texts += found
            size += text_bytes(path, found)
    if not files["train"]:
        problems.append(f"[corpus] source {spec.source!r}: only validation and test files, nothing to train on")
    elif not problems and not texts:
        problems.append(f"[corpus] source {spec.source!r}: the corpus is empty, not one text in its files")
    if problems:
        raise SpecError(problems)
    if tokenizer is None:
        return CorpusFacts(files=names)
    sample = [text[:SAMPLE_CHARACTERS] for text in some(texts, MAX_TEXTS)]
    ids = tokenizer(sample, add_special_tokens=False, verbose=False)["input_ids"]
    per_byte = sum(map(len, ids)) / sum(len(text.encode()) for text in sample)
    total = round(per_byte * size * max(1, len(files["train"]) / MAX_FILES))
    return CorpusFacts(
        tokens=total if spec.max_tokens is None else min(total, spec.max_tokens),
        sampled=spec.max_tokens is not None and total > spec.max_tokens,
        unknown={"": unknown_share(ids, tokenizer)},
        files=names,
        estimated=True,
    )


def text_bytes(path: Path, first: Sequence[str]) -> float:
    """About how many bytes of text a file has, by its first texts."""
    mean = sum(len(text.encode()) for text in first) / max(1, len(first))
    rows = count_rows(path, len(first))
    return mean * rows


def some(values: Sequence[Any], count: int) -> list[Any]:
    """At most so many, spread over all."""
    return [values[i] for i in spread(len(values), count)]


def look_at_task(task: TaskSpec, tokenizer: PreTrainedTokenizerBase | None) -> TaskFacts | None:
    """The facts of a task: all of its rows are read, and some of each split encoded.

    None for what would take long: a task on the hub, or one of docstrings that were not collected yet.
    """
    if task.source.startswith("hub:") or (task.source.startswith("docs:") and not docs_are_built()):
        return None
    notes: list[str] = []
    _, rows, names = read_task(task, noted(task, notes))
    rows, cut = cut_rows(task, rows, 0)
    if tokenizer is None:
        return task_facts({**cut, "max_length": task.max_length, "labels_dropped": {}}, {}, names, None, notes)
    chosen = {split: spread(len(each)) for split, each in rows.items()}
    sample = {split: each.take(chosen[split]) for split, each in rows.items()}
    encoded = {split: KINDS[task.kind].encode(each, tokenizer, task.max_length) for split, each in sample.items()}
    meta = {**cut, "max_length": task.max_length, "labels_dropped": labels_dropped(sample, encoded)}
    splits = {split: dataclasses.replace(each, labels=rows[split].labels) for split, each in encoded.items()}
    estimated = any(len(rows[split]) > len(each) for split, each in sample.items())
    return task_facts(meta, splits, names, tokenizer.unk_token_id, notes, estimated=estimated)


def spread(count: int, sample: int = SAMPLE_ROWS) -> np.ndarray:
    """Indices of a sample that is spread over all rows."""
    return np.unique(np.linspace(0, count - 1, min(count, sample)).astype(np.int64))


def told(facts: DataFacts) -> Sequence[str]:
    """Everything that is worth telling, a line each."""
    lines = [f"corpus: {line}" for line in corpus_lines(facts.corpus)]
    return [*lines, *(f"task {name}: {line}" for name, each in facts.tasks.items() for line in task_lines(each))]
