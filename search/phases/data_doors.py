"""What is opened of corpus and tasks before anything starts.

`look_at` opens the same doors as `prepare_data` and finds the same problems, but writes nothing of them and reads of a
large corpus a sample.
"""

import dataclasses
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from search.phases.data import corpus_prompts, file_names, looked_at, noted
from search.spec.reading import Unsound
from spaces.errors import SpecError, StillhouseError, choose
from spaces.records.data import CorpusFacts, DataFacts, TaskFacts, corpus_lines, task_lines
from spaces.telling import quiet
from spaces.values import from_json, to_json
from trainables.cache import read_value, store_value
from trainables.models.embedding import Embedder
from trainables.tasks.facts import task_facts
from trainables.tasks.kinds import KINDS
from trainables.tasks.prepare import as_embedded, cut_rows, labels_dropped, read_task
from trainables.tasks.spec import TaskSpec, task_problems
from trainables.text.corpus import apart, cut
from trainables.text.corpus_files import corpus_files
from trainables.text.docs_tasks import DOCS_TASKS
from trainables.text.docstrings import docs_are_built
from trainables.text.file_texts import file_texts
from trainables.text.files import File, is_elsewhere
from trainables.text.language_mix import languages_of
from trainables.text.packing import pack, unknown_share
from trainables.text.pairs import file_pairs
from trainables.text.single import FEWEST_TOKENS, sentences_of
from trainables.text.sources import USED, CorpusSpec, queries_of, supplement_of, told_as
from trainables.text.tables import count_rows

SAMPLE_ROWS = 200
"""Of each split of a task, by which `check` tells shares."""
SAMPLE_TEXTS = 100
"""The first of each file of a corpus."""
MAX_FILES, MAX_TEXTS, SAMPLE_CHARACTERS = 300, 2000, 2000
"""Files that are opened, texts that are tokenised, and how much of each: more would take too long."""
MAX_STORED_FILES = 20
"""The same of a source in an object store, where each file takes some requests."""
SMALL_BYTES = 300_000
"""A corpus of smaller files is cut whole: whether it fills a block is then known, and not guessed."""


def look_at(
    draft: Any, tokenizer: PreTrainedTokenizerBase | None, embedder: Embedder | None, problems: list[str]
) -> DataFacts:
    """What a study would read, as far as its spec is sound; what is wrong with corpus and tasks goes to `problems`.

    tokenizer, embedder: the teacher's, None where they cannot be had. Of sources on the hub nothing is downloaded.
    Shares and sizes of a large corpus are estimated.
    """
    corpus, tasks = CorpusFacts(), {}
    try:
        corpus = look_at_texts(CorpusSpec(**sound(draft.corpus, CorpusSpec)), tokenizer, embedder)
    except Unsound:
        pass
    except SpecError as error:
        problems += error.problems
    for task in sound_tasks(draft):
        try:
            tasks[task.name] = look_at_task(task, tokenizer, embedder)
        except SpecError as error:
            problems += error.problems
    return DataFacts(corpus, {name: facts for name, facts in tasks.items() if facts is not None})


def look_at_texts(
    spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase | None, embedder: Embedder | None
) -> CorpusFacts:
    """The facts of a corpus, once its texts, its queries and its supplement were looked at."""
    problems: list[str] = []
    found, prompts = CorpusFacts(), ("", "")
    for key, other in (("queries", queries_of(spec)), ("supplement", supplement_of(spec))):
        if other is None:
            continue
        try:
            with told_as(key):
                look_at_corpus(other, None)
        except SpecError as error:
            problems += error.problems
    try:
        found = look_at_corpus(spec, tokenizer)
    except SpecError as error:
        problems += error.problems
    try:
        if embedder is not None:
            prompts = corpus_prompts(spec, embedder)
    except SpecError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems)
    if tokenizer is None or not is_small(spec):
        return found
    if spec.texts == "packed":
        with tempfile.TemporaryDirectory() as scratch:
            _, facts = cut(spec, tokenizer, quiet, Path(scratch), Path(scratch) / "train.npy")
    else:
        _, facts, _ = apart(spec, tokenizer, quiet, prompts)
    return dataclasses.replace(facts, files=found.files)


def is_small(spec: CorpusSpec) -> bool:
    """Whether a corpus is one of few bytes in files."""
    each = [spec, *filter(None, [queries_of(spec)])]
    if not all(file_names(corpus) for corpus in each):
        return False
    files = (corpus_files(corpus.source) for corpus in each)
    return sum(file.size_bytes for parts in files for part in USED for file in parts[part]) <= SMALL_BYTES


def sound(draft: Any, section: type) -> dict[str, Any]:
    """All fields of a section. Raises Unsound where one could not be read, or is a URI that names no bucket."""
    values = {field.name: getattr(draft, field.name) for field in dataclasses.fields(section)}
    if any(isinstance(value, str) and value.endswith("://") for value in values.values()):  # which a rule refuses
        raise Unsound
    return values


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
    if tokenizer is not None and spec.texts == "packed":
        pack((), tokenizer, spec.sequence_length)
    names = file_names(spec)
    if not names:
        return CorpusFacts()
    if spec.language_temperature is not None:
        languages_of(spec)
    files = corpus_files(spec.source)
    problems: list[str] = []
    texts: list[str] = []
    size = 0.0
    most = MAX_STORED_FILES if is_elsewhere(spec.source) else MAX_FILES
    for file in [*some(files["train"], most), *some(files["held_out"], most)]:
        try:
            found = list(itertools.islice(texts_in(file, spec), SAMPLE_TEXTS))
        except SpecError as error:
            problems += error.problems
            continue
        except StillhouseError as error:  # of a store that lists its files and does not give them
            problems.append(f"[corpus] source {spec.source!r}: {error}")
            break
        if file in files["train"]:
            texts += found
            size += text_bytes(file, found)
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
    total = round(per_byte * size * max(1, len(files["train"]) / most))
    return CorpusFacts(
        tokens=total if spec.max_tokens is None else min(total, spec.max_tokens),
        sampled=spec.max_tokens is not None and total > spec.max_tokens,
        row_tokens=mean_length(spec, sample, tokenizer),
        unknown={"": unknown_share(ids, tokenizer)},
        files=names,
        estimated=True,
    )


def texts_in(file: File, spec: CorpusSpec) -> Iterator[str]:
    """The texts of a file, or its pairs as they are read, in one."""
    if spec.texts == "pairs":
        return (f"{query} {passage}" for query, passage in file_pairs(file, spec))
    return file_texts(file, spec.text_column)


def mean_length(spec: CorpusSpec, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> float:
    """Tokens of a single text of the corpus, about; 0 for blocks."""
    if spec.texts == "packed":
        return 0.0
    parts = [part for text in texts for part in (sentences_of(text) if spec.texts == "sentences" else [text])]
    rows = tokenizer(some(parts, MAX_TEXTS), truncation=True, max_length=spec.sequence_length, verbose=False)
    lengths = [len(ids) for ids in rows["input_ids"] if len(ids) >= FEWEST_TOKENS]
    return float(np.mean(lengths)) if lengths else 0.0


def text_bytes(file: File, first: Sequence[str]) -> float:
    """About how many bytes of text a file has, by its first texts."""
    mean = sum(len(text.encode()) for text in first) / max(1, len(first))
    rows = count_rows(file, len(first))
    return mean * rows


def some(values: Sequence[Any], count: int) -> list[Any]:
    """At most so many, spread over all."""
    return [values[i] for i in spread(len(values), count)]


def look_at_task(
    task: TaskSpec, tokenizer: PreTrainedTokenizerBase | None, embedder: Embedder | None
) -> TaskFacts | None:
    """The facts of a task: all of its rows are read, and some of each split encoded.

    None for what would take long: a task on the hub, or one of docstrings that were not collected yet. Facts of the
    latter, which are the same as long as the installed packages are, are remembered.
    """
    if task.source.startswith("hub:"):
        return None
    if not task.source.startswith("docs:"):
        return facts_of_rows(task, tokenizer, embedder)
    if not docs_are_built():
        choose("docs task", DOCS_TASKS, task.source.removeprefix("docs:"))
        return None
    folder = looked_at(task, tokenizer, embedder)
    if not folder.is_dir():
        facts = facts_of_rows(task, tokenizer, embedder)
        with suppress(OSError, StillhouseError):  # a cache that cannot be written to is told of elsewhere
            store_value(folder, {"facts": to_json(facts)})
        return facts
    return from_json(TaskFacts, read_value(folder)["facts"])


def facts_of_rows(task: TaskSpec, tokenizer: PreTrainedTokenizerBase | None, embedder: Embedder | None) -> TaskFacts:
    """The facts of the rows of a source, all of which are read."""
    notes: list[str] = []
    _, rows, names = read_task(task, noted(task, notes))
    rows, max_length, lines = as_embedded(task, rows, embedder)
    for line in lines:
        noted(task, notes)(line)
    rows, sizes = cut_rows(task, rows, 0)
    if tokenizer is None:
        return task_facts({**sizes, "max_length": max_length, "labels_dropped": {}}, {}, names, None, notes)
    chosen = {split: spread(len(each)) for split, each in rows.items()}
    sample = {split: each.take(chosen[split]) for split, each in rows.items()}
    encoded = {split: KINDS[task.kind].encode(each, tokenizer, max_length) for split, each in sample.items()}
    meta = {**sizes, "max_length": max_length, "labels_dropped": labels_dropped(sample, encoded)}
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
