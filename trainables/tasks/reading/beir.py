"""Retrieval tasks as BEIR writes them (arXiv:2104.08663): documents, queries, and which documents answer which query.

SOURCE/corpus.jsonl (_id, title, text), SOURCE/queries.jsonl (_id, text), SOURCE/qrels/test.tsv (query-id, corpus-id,
score), and qrels of dev and train likewise; other formats of tables as well, such as corpus.parquet. A document is its
title, a space and its text.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from spaces.errors import SpecError
from trainables.tasks.data import Rows
from trainables.tasks.documents import DOCUMENTS
from trainables.tasks.ranking import JUDGED
from trainables.tasks.reading.rows import finite
from trainables.tasks.reading.tables import TaskSource
from trainables.text.files import File
from trainables.text.folders import Folder, folder_at
from trainables.text.ragged import ragged
from trainables.text.splits import split_of
from trainables.text.tables import ENDINGS, READERS, Table, read_table
from trainables.text.text_files import format_of

QRELS = ("query-id", "corpus-id", "score")
"""Columns of the judgements."""
EXAMPLES = 3
"""Ids that a line names."""


def read_beir(source: TaskSource) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """(queries by split with the documents that answer them, and all `documents`; no class names).

    Documents stand in falling order of their ids, which is how trec_eval ranks those of equal score. What the qrels
    name though it is not there, and queries without any relevant document, are left out and said. Raises SpecError with
    every problem found.
    """
    folder = folder_at(source.address)
    if not folder.exists():
        raise SpecError([f"task {source.task!r}: {source.address!r} is no folder with corpus, queries and qrels"])
    problems: list[str] = []
    text, files = source.columns["text"].name, folder.files()
    documents = texts_by_id(source, files, "corpus", (source.columns["title"].name, text), problems)
    queries = texts_by_id(source, files, "queries", (text,), problems)
    tables = {split: read_table(file) for split, file in split_files(source, folder / "qrels", problems).items()}
    judged = {split: judgements(source, split, table, problems) for split, table in tables.items()}
    if problems:
        raise SpecError(problems)
    ids = sorted(documents, reverse=True)
    number = {name: place for place, name in enumerate(ids)}
    rows = {DOCUMENTS: Rows({"text": [documents[name] for name in ids]}, ragged([[]] * len(ids), JUDGED))}
    for split, found in judged.items():
        answered = relevant(source, split, found, queries, number)
        if answered:
            labels = ragged(list(answered.values()), JUDGED)
            rows[split] = Rows({"text": [queries[name] for name in answered]}, labels)
        else:
            problems.append(f"{source.place(split)}: no query has a relevant document that is there")
    if problems:
        raise SpecError(problems)
    return rows, ()


def texts_by_id(
    source: TaskSource, files: Sequence[File], name: str, columns: Sequence[str], problems: list[str]
) -> dict[str, str]:
    """id -> the texts of these columns (the last is needed), joined by a space."""
    where = f"task {source.task!r}, {name} of {source.address!r}"
    known = ((name, ending) for ending in READERS)
    file = next((file for each in known for file in files if format_of(file.name) == each), None)
    if file is None:
        problems.append(f"task {source.task!r}: no file {source.address}/{name} ending in {ENDINGS}")
        return {}
    table = read_table(file)
    if absent := [column for column in ("_id", columns[-1]) if column not in table.columns]:
        if any(table.columns.values()):
            rest = f"only {', '.join(sorted(table.columns))}"
            problems += [f"{where} has no column {column!r}, {rest}" for column in absent]
        else:
            problems.append(f"{where} is empty")
        return {}
    ids = [str(each) for each in table.columns["_id"]]
    parts = [table.columns[column] for column in columns if column in table.columns]
    if not ids:
        problems.append(f"{where} is empty")
    for column, values in zip([column for column in columns if column in table.columns], parts, strict=True):
        strange = next((row for row, value in enumerate(values) if not isinstance(value, str | None)), None)
        if strange is not None:
            problems.append(f"{where}: column {column!r}, row {strange} is {values[strange]!r}, not a text")
            return {}
    found = {each: " ".join(filter(None, texts)).strip() for each, *texts in zip(ids, *parts, strict=True)}
    if twice := [each for each, count in Counter(ids).items() if count > 1]:
        problems.append(f"{where} has {len(twice):,} ids twice: {some(twice)}")
    if empty := [each for each, text in found.items() if not text]:
        source.say(f"task {source.task}: {len(empty):,} of {name} have no text: {some(empty)}")
    return found


def split_files(source: TaskSource, folder: Folder, problems: list[str]) -> dict[str, File]:
    """The qrels of each split."""
    found: dict[str, File] = {}
    unused = []
    for file in folder.files() if folder.exists() else ():
        name, ending = format_of(file.name)
        if ending not in READERS:
            continue
        split = split_of(name)
        if split is None:
            unused.append(file.name)
        elif split in found:
            problems.append(f"task {source.task!r}: {found[split]} and {file} both hold the split {split!r}")
        else:
            found[split] = file
    if not found:
        problems.append(f"task {source.task!r}: no file {folder.place}/test or dev or train ending in .tsv")
    if unused:
        source.say(f"task {source.task}: files that are not used: {', '.join(unused)}")
    return found


def judgements(source: TaskSource, split: str, table: Table, problems: list[str]) -> list[tuple[str, str, float]]:
    """(query, document, grade) of each row."""
    where = f"task {source.task!r}, qrels of {split} of {source.address!r}"
    if absent := [name for name in QRELS if name not in table.columns]:
        rest = f"only {', '.join(sorted(table.columns))}; the first line names the columns"
        problems += [f"{where} have no column {name!r}, {rest}" for name in absent]
        return []
    queries, documents, scores = (table.columns[name] for name in QRELS)
    grades = [finite(score) for score in scores]
    if None in grades:
        row = grades.index(None)
        problems.append(f"{where}: column 'score', row {row} is {scores[row]!r}, not a finite number")
        return []
    return [(str(q), str(d), float(g)) for q, d, g in zip(queries, documents, grades, strict=True) if g is not None]


def relevant(
    source: TaskSource,
    split: str,
    judged: Iterable[tuple[str, str, float]],
    queries: Mapping[str, str],
    number: Mapping[str, int],
) -> dict[str, list[tuple[int, float]]]:
    """query -> (place, grade) of each document that answers it, for the queries that are answered, in their order."""
    found: dict[str, dict[int, float]] = {}
    strange_queries: list[str] = []
    strange_documents: list[str] = []
    for query, document, grade in judged:
        if query not in queries:
            strange_queries.append(query)
        elif document not in number:
            strange_documents.append(document)
        else:
            found.setdefault(query, {})[number[document]] = grade
    for what, names in (("queries", strange_queries), ("documents", strange_documents)):
        if names:
            source.say(
                f"task {source.task}: {len(names):,} rows of the qrels of {split} are not used, they name {what} that "
                f"are not there: {some(names)}"
            )
    answered = {
        query: [(place, grade) for place, grade in sorted(grades.items()) if grade > 0]
        for query, grades in found.items()
    }
    if unanswered := [query for query, documents in answered.items() if not documents]:
        source.say(
            f"task {source.task}: {len(unanswered):,} queries of {split} are not used, they have no relevant document: "
            f"{some(unanswered)}"
        )
    return {query: documents for query, documents in answered.items() if documents}


def some(names: Sequence[str]) -> str:
    """The first of some names, each once."""
    once = list(dict.fromkeys(names))
    return ", ".join(map(repr, once[:EXAMPLES])) + (", ..." if len(once) > EXAMPLES else "")
