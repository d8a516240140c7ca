"""Pairs of a query and a passage, for rerankers: each a row of token ids of its own, as a cross-encoder reads them."""

from collections.abc import Callable, Iterator

from spaces.errors import SpecError
from spaces.telling import Say
from trainables.text.corpus_files import corpus_files
from trainables.text.file_texts import TEXTS
from trainables.text.files import File
from trainables.text.held_out import bucket_of, rule_of
from trainables.text.sources import CorpusSpec, held_out_characters
from trainables.text.text_files import format_of

Pair = tuple[str, str]
"""A query and a passage."""


def file_pairs(file: File, spec: CorpusSpec) -> Iterator[Pair]:
    """The pairs of one file, in its order; rows that lack a text are passed over. Raises SpecError for another file."""
    ending = format_of(file.name)[1]
    if ending == ".txt":
        columns = f"{spec.query_column} and {spec.text_column}"
        raise SpecError([f"[corpus] {file}: a file of lines has no pairs; give a table with the columns {columns}"])
    try:
        both = (TEXTS[ending](file, column) for column in (spec.query_column, spec.text_column))
        for query, passage in zip(*both, strict=True):
            if query and passage and query.strip() and passage.strip():
                yield query, passage
    except SpecError as error:
        raise SpecError([f"[corpus] {problem}" for problem in error.problems]) from error


def parted(
    spec: CorpusSpec, rows_of: Callable[[File, CorpusSpec], Iterator[tuple[str, str]]], what: str
) -> list[list[tuple[str, str]]]:
    """The rows of `train` and of `held_out`, each once; without files of their own some are held out, by their first
    text.

    rows_of: those of a file. what: how a row is called. Raises SpecError for a source without rows to train on.
    """
    files = corpus_files(spec.source)
    train, held_out = (
        list(dict.fromkeys(row for file in files[part] for row in rows_of(file, spec)))
        for part in ("train", "held_out")
    )
    if not train:
        raise SpecError([f"[corpus] source {spec.source!r}: no {what} to train on"])
    if not held_out:
        last = rule_of((first for first, _ in train), held_out_characters(spec)).last
        held_out = [row for row in train if bucket_of(row[0]) <= last]
        train = [row for row in train if bucket_of(row[0]) > last]
    return [train, held_out]


def read_pairs(spec: CorpusSpec, say: Say) -> list[list[Pair]]:
    """Those of `train` and of `held_out`, each once. Without files of their own, some queries are held out.

    Raises SpecError for a source without pairs.
    """
    train, held_out = parted(spec, file_pairs, "pair of a query and a passage")
    queries = len({query for query, _ in train})
    say(f"corpus: {len(train):,} pairs of {queries:,} queries to train on, {len(held_out):,} are held out")
    return [train, held_out]
