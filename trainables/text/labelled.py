"""Texts with a label each, for the method `labels`: the classes are those of a classifier that is distilled."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from spaces.errors import SpecError
from spaces.telling import Say
from trainables.text.files import File
from trainables.text.pairs import parted
from trainables.text.sources import CorpusSpec
from trainables.text.tables import no_column, read_table
from trainables.text.text_files import format_of


@dataclass(frozen=True)
class Labelled:
    """Texts, and the class of each as a place in the names of all classes."""

    texts: list[str]
    classes_N: np.ndarray


def file_rows(file: File, spec: CorpusSpec) -> Iterator[tuple[str, str]]:
    """(text, label) of one file, in its order; rows without a text are passed over. Numbers are labels as texts.

    Raises SpecError for a file or a row without labels.
    """
    columns = (spec.text_column, spec.label_column or "")
    if format_of(file.name)[1] == ".txt":
        raise SpecError(
            [f"[corpus] {file}: a file of lines has no labels; give a table with the columns {' and '.join(columns)}"]
        )
    try:
        table = read_table(file)
        for key, name in zip(("text_column", "label_column"), columns, strict=True):
            if name not in table.columns:
                raise SpecError([f"{key}: {file} has {no_column(name, table.columns, name in table.twice)}"])
        names = table.class_names.get(columns[1], ())
        for row, (text, label) in enumerate(zip(*(table.columns[name] for name in columns), strict=True), 1):
            if isinstance(text, str) and text.strip():
                yield text, label_of(label, names, f"{file}, row {row}, {columns[1]!r}")
    except SpecError as error:
        raise SpecError([f"[corpus] {problem}" for problem in error.problems]) from error


def label_of(label: Any, names: tuple[str, ...], where: str) -> str:
    """A label as a text. names: of classes that are stored as numbers."""
    is_number = isinstance(label, int) and not isinstance(label, bool)
    if is_number and names:
        if not 0 <= label < len(names):
            raise SpecError([f"{where} is {label}, not a class id from 0 to {len(names) - 1}"])
        return names[label]
    if is_number or (isinstance(label, str) and label.strip()):
        return str(label).strip()
    raise SpecError([f"{where} is {label!r}, not a class: a text or a whole number"])


def read_labelled(spec: CorpusSpec, say: Say) -> tuple[list[Labelled], tuple[str, ...]]:
    """(those of `train` and of `held_out`, each once; the names of the classes, sorted).

    Without files of their own, some texts are held out. Raises SpecError for a source without labelled texts.
    """
    train, held_out = parted(spec, file_rows, "text with a label")
    names = tuple(sorted({label for _, label in [*train, *held_out]}))
    place = {name: number for number, name in enumerate(names)}
    say(f"corpus: {len(train):,} texts of {len(names)} classes to train on, {len(held_out):,} are held out")
    return [
        Labelled([text for text, _ in rows], np.array([place[label] for _, label in rows], dtype=np.int64))
        for rows in (train, held_out)
    ], names
