"""Where the text of a corpus comes from: the docs of the install, files, the hub."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spaces.errors import SpecError
from spaces.settings import setting
from spaces.telling import Say
from trainables.cache import digest
from trainables.text.corpus_files import corpus_files
from trainables.text.docstrings import docs_table, docs_texts
from trainables.text.file_texts import STRINGS, file_texts
from trainables.text.files import File, file_here, versions_of
from trainables.text.fragments import Fragment, fragments_of
from trainables.text.held_out import CHARACTERS_PER_TOKEN, hold_out
from trainables.text.hub import HUB, column_file, hub_address, load_hub
from trainables.text.near_duplicates import near_duplicates

USED = ("train", "held_out")


@dataclass(frozen=True)
class CorpusSpec:
    """Where the text comes from and how it is cut; what a spec writes under [corpus]."""

    source: str = setting(
        "'docs', a file or folder of text, here or by a URI (s3://bucket/folder, gs://), hub:name or hub:name@revision"
    )
    sequence_length: int = setting("tokens per block", 128, at_least=8)
    text_column: str = setting("the column that holds the text", "text")
    subset: str | None = setting("the configuration of a hub data set", None)
    texts: str = setting(
        "packed: one after the other in blocks, for methods that read tokens; single: each text alone, cut at "
        "sequence_length; sentences: each sentence alone. Methods that read embeddings need single or sentences. "
        "pairs: each with a query before it, for teachers that score pairs",
        "packed",
        choices=("packed", "single", "sentences", "pairs"),
    )
    label_column: str | None = setting(
        "the column with the class of each text, which the method 'labels' learns: names or numbers of the teacher's "
        "classes",
        None,
    )
    query_column: str = setting("the column that holds the query, where texts are pairs", "query")
    queries: str | None = setting(
        "queries beside the texts of source, a file or folder of them: each stands after the teacher's prompt called "
        "query, and the texts of source then after that called document, passage or corpus; unset: all texts after "
        "[embedding] prompt",
        None,
    )
    supplement: str | None = setting(
        "text of another task or domain, a file or folder, which stages of a method read in place of source ('mha on "
        "supplement then mha'); cut as source is",
        None,
    )
    max_tokens: int | None = setting("use about this many tokens at the most: a sample over all text", None, at_least=1)
    near_duplicates: float | None = setting(
        "leave out texts that are so similar to an earlier one, by runs of three words: 0.8 finds pages that differ in "
        "a few words; unset: only the same is",
        None,
        above=0,
        below=1,
    )
    language_temperature: float | None = setting(
        "sample the languages, one folder of source each, by size^(1/T), so that small ones get more text; 3.3 is "
        "XLM-R's, 1 keeps the proportions; unset: all text once",
        None,
        above=0,
    )


def queries_of(spec: CorpusSpec) -> CorpusSpec | None:
    """The queries of a corpus as a corpus of their own, each as it is."""
    if spec.queries is None:
        return None
    return replace(spec, source=spec.queries, queries=None, texts="single", near_duplicates=None)


def supplement_of(spec: CorpusSpec) -> CorpusSpec | None:
    """The supplement of a corpus as a corpus of its own, with its queries left out."""
    if spec.supplement is None:
        return None
    return replace(
        spec, source=spec.supplement, supplement=None, queries=None, label_column=None, language_temperature=None
    )


@contextmanager
def told_as(key: str) -> Iterator[None]:
    """What is wrong with the text of another key of [corpus] is told under that."""
    try:
        yield
    except SpecError as error:
        raise SpecError([each.replace("[corpus] source", f"[corpus] {key}", 1) for each in error.problems]) from error


def source_files(spec: CorpusSpec, progress: Say) -> dict[str, str]:
    """What the text is, by digests: of the docs' packages, the hub's name, or each file by its part and path inside.

    A file of which the time of change is known is not read again; one in a store only where that says nothing of it.
    """
    if (queries := queries_of(spec)) is not None:
        with told_as("queries"):
            asked = {f"queries: {name}": found for name, found in source_files(queries, progress).items()}
        return source_files(replace(spec, queries=None), progress) | asked
    if (supplement := supplement_of(spec)) is not None:
        with told_as("supplement"):
            more = {f"supplement: {name}": found for name, found in source_files(supplement, progress).items()}
        return source_files(replace(spec, supplement=None), progress) | more
    if spec.source == "docs":
        return {"the docstrings of the installed packages": docs_table(progress).parent.name}
    if spec.source.startswith(HUB):
        return {spec.source: digest(spec.source, spec.subset)}
    parts = corpus_files(spec.source)
    files = [file for part in USED for file in parts[part]]
    names = [f"{file.inner} ({part})" for part in USED for file in parts[part]]
    if [file.place for file in files] in ([spec.source], [str(Path(spec.source).expanduser())]):
        names = ["the file"]
    return dict(zip(names, versions_of(files), strict=True))


@dataclass(frozen=True)
class TextSource:
    """The texts of a corpus, one after the other, as often as they are asked for."""

    train: Callable[[], Iterable[str]]
    held_out: Callable[[], Iterable[str]] | None
    """None: some of those to train on are held out."""
    empty: str = ""
    """What is said where there is no text to train on."""
    distinct: "Distinct | None" = None
    """What leaves near duplicates out; None: they stay."""
    fragments: Callable[[], Sequence[Fragment]] = list
    """What the texts to train on can be read in, each by itself; nothing where they are only read in their order."""
    text_column: str = ""
    """Of the files of the fragments."""

    @property
    def near_duplicates(self) -> int:
        """Texts that were left out as such."""
        return 0 if self.distinct is None else self.distinct.left_out

    def refuse_empty(self, texts: int) -> None:
        """Raise SpecError where no text was found."""
        if not texts and self.empty:
            raise SpecError([self.empty])


class Distinct:
    """Those texts to train on that are no near duplicates of earlier ones; found when they are first asked for."""

    def __init__(self, texts: Callable[[], Iterable[str]], similarity: float, progress: Say) -> None:
        self.texts, self.similarity, self.progress = texts, similarity, progress
        self._dropped_N: np.ndarray | None = None

    def __call__(self) -> Iterator[str]:
        if self._dropped_N is None:
            self._dropped_N = near_duplicates(self.texts(), self.similarity, self.progress)
        return (text for text, is_dropped in zip(self.texts(), self._dropped_N, strict=True) if not is_dropped)

    @property
    def left_out(self) -> int:
        """Texts, once they have been asked for."""
        return 0 if self._dropped_N is None else int(self._dropped_N.sum())


def distinct(spec: CorpusSpec, source: TextSource, progress: Say) -> TextSource:
    """A source without near duplicates, where the spec wants that."""
    if spec.near_duplicates is None:
        return source
    texts = Distinct(source.train, spec.near_duplicates, progress)
    return replace(source, train=texts, distinct=texts, fragments=list)


def open_texts(spec: CorpusSpec, progress: Say) -> TextSource:
    """The texts of a corpus; of a folder, `part_of` says which files train; a single file trains."""
    return distinct(spec, opened(spec, progress), progress)


def opened(spec: CorpusSpec, progress: Say) -> TextSource:
    """The same with near duplicates."""
    if spec.source == "docs":
        return TextSource(lambda: docs_texts("train", progress), lambda: docs_texts("dev", progress))
    if spec.source.startswith(HUB):
        return open_files(spec, {"train": [hub_file(spec, progress)], "held_out": []})
    return open_files(spec, corpus_files(spec.source))


def read_texts(spec: CorpusSpec, progress: Say) -> tuple[list[str], list[str]]:
    """(train texts, held-out texts), all of them."""
    return listed(spec, open_texts(spec, progress))


def listed(spec: CorpusSpec, source: TextSource) -> tuple[list[str], list[str]]:
    """(train texts, held-out texts) of a source."""
    texts = list(source.train())
    source.refuse_empty(len(texts))
    if source.held_out is not None:
        return texts, list(source.held_out())
    return hold_out(texts, held_out_characters(spec))


def held_out_characters(spec: CorpusSpec) -> int:
    """What fills one block."""
    return CHARACTERS_PER_TOKEN * spec.sequence_length


def open_files(spec: CorpusSpec, parts: Mapping[str, Sequence[File]]) -> TextSource:
    """The texts of some files of the source, by the part that they are. Raises SpecError where none train."""
    train, held_out = parts["train"], parts["held_out"]
    if not train:
        raise SpecError([f"[corpus] source {spec.source!r}: only validation and test files, nothing to train on"])

    def texts(files: Sequence[File]) -> Callable[[], Iterator[str]]:
        return lambda: (text for file in files for text in file_texts(file, spec.text_column))

    empty = f"[corpus] source {spec.source!r}: the corpus is empty, not one text in {len(train)} file(s)"
    return TextSource(
        texts(train), texts(held_out) if held_out else None, empty,
        fragments=lambda: fragments_of(train, spec.text_column), text_column=spec.text_column,
    )  # fmt: skip


def hub_file(spec: CorpusSpec, progress: Say) -> File:
    """The train split of a hub dataset, through the `datasets` library; no code of the repository is run."""
    name, revision = hub_address(spec.source)
    try:
        table = load_hub(name, spec.subset, split="train", revision=revision, say=progress)
    except (OSError, ValueError) as error:
        raise SpecError([f"[corpus] source {spec.source!r}: the hub did not give it: {error}"]) from error
    if spec.text_column not in table.column_names:
        names = ", ".join(table.column_names)
        raise SpecError([f"[corpus] text_column {spec.text_column!r}: {spec.source} has the columns {names}"])
    if (kind := table.features.arrow_schema.field(spec.text_column).type) not in STRINGS:
        raise SpecError([f"[corpus] text_column {spec.text_column!r}: in {spec.source} it holds {kind}, not text"])
    return file_here(column_file(table, spec.text_column, progress))
