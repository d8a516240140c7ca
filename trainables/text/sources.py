"""Where the text of a corpus comes from (the docs of the install, files, the hub), and what of it is held out."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spaces.errors import SpecError
from spaces.settings import setting
from trainables.cache import digest, digest_files
from trainables.text.docstrings import docs_table, docs_texts
from trainables.text.splits import split_of

Say = Callable[[str], None]
HELD_OUT_EVERY = 50  # one text in fifty is held out of a corpus that has no split of its own
TEXT_SUFFIXES = (".txt", ".jsonl", ".parquet")


@dataclass(frozen=True)
class CorpusSpec:
    """Where the text comes from and how it is cut; what a spec writes under [corpus]."""

    source: str = setting("'docs', a file or folder of text, or hub:name")
    sequence_length: int = setting("tokens per block", 128, at_least=8)
    text_column: str = setting("the column that holds the text", "text")
    subset: str | None = setting("the configuration of a hub data set", None)
    max_tokens: int | None = setting("use no more than this many tokens of the corpus", None, at_least=1)
    language_temperature: float | None = setting(
        "sample the languages, one folder of source each, by size^(1/T), so that small ones get more text; 3.3 is "
        "XLM-R's, 1 keeps the proportions; unset: all text once",
        None,
        above=0,
    )


def source_digest(spec: CorpusSpec, progress: Say) -> str:
    """What the text is, without reading it twice: the docs table's key, the files' contents, the hub's name."""
    if spec.source == "docs":
        return docs_table(progress).parent.name
    if spec.source.startswith("hub:"):
        return digest(spec.source, spec.subset, spec.text_column)
    return digest(digest_files(text_files(spec.source)), spec.text_column)


def text_files(source: str) -> list[Path]:
    """The text files of a file or folder. Raises SpecError when there is none."""
    path = Path(source).expanduser()
    if not path.exists():
        raise SpecError(
            [f"[corpus] source {source!r}: no such file or folder; 'docs' needs no files, the hub is 'hub:owner/name'"]
        )
    inside = (p for p in path.rglob("*") if p.suffix in TEXT_SUFFIXES and not p.name.startswith("."))
    found = sorted(inside) if path.is_dir() else [path]
    if not found or any(p.suffix not in TEXT_SUFFIXES for p in found):
        raise SpecError([f"[corpus] source {source!r}: expected files ending in {', '.join(TEXT_SUFFIXES)}"])
    return found


def part_of(path: Path, root: Path) -> str:
    """train | held_out | test, by the first word of its folders below the root or of its name: test/0.txt, dev_1.jsonl.

    The outermost folder that says something decides.
    """
    for name in (*path.relative_to(root).parent.parts, path.stem):
        word = re.split("[^a-z]", name.lower())[0]
        split = "dev" if word == "held" else split_of(word)
        if split is not None:
            return "held_out" if split == "dev" else split
    return "train"


def read_texts(spec: CorpusSpec, progress: Say) -> tuple[list[str], list[str]]:
    """(train texts, held-out texts); of a folder, `part_of` says which files train; a single file trains."""
    if spec.source == "docs":
        return docs_texts("train", progress), docs_texts("dev", progress)
    if spec.source.startswith("hub:"):
        return every_fiftieth(hub_texts(spec))
    return files_texts(spec, text_files(spec.source))


def files_texts(spec: CorpusSpec, files: list[Path]) -> tuple[list[str], list[str]]:
    """(train texts, held-out texts) of some files of the source."""
    parts = {path: part_of(path, Path(spec.source).expanduser()) for path in files}
    train = [path for path in files if parts[path] == "train"] if len(files) > 1 else files
    held_out = [path for path in files if path not in train and parts[path] == "held_out"]
    if not train:
        raise SpecError([f"[corpus] source {spec.source!r}: only validation and test files, nothing to train on"])
    texts = [text for path in train for text in file_texts(path, spec.text_column)]
    if not texts:
        raise SpecError([f"[corpus] source {spec.source!r}: the corpus is empty, not one text in {len(train)} file(s)"])
    if held_out:
        return texts, [text for path in held_out for text in file_texts(path, spec.text_column)]
    return every_fiftieth(texts)


def every_fiftieth(texts: list[str]) -> tuple[list[str], list[str]]:
    """Hold out one text in fifty, and never a text that also trains."""
    held_out = set(texts[min(HELD_OUT_EVERY // 2, len(texts) - 1) :: HELD_OUT_EVERY])
    return [text for text in texts if text not in held_out], sorted(held_out)


def hub_texts(spec: CorpusSpec) -> list[str]:
    """The train split of a hub dataset, through the `datasets` library; no code of the repository is run."""
    import datasets

    try:
        table = datasets.load_dataset(spec.source.removeprefix("hub:"), spec.subset, split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        raise SpecError([f"[corpus] source {spec.source!r}: the hub did not give it: {error}"]) from error
    if spec.text_column not in table.column_names:
        names = ", ".join(table.column_names)
        raise SpecError([f"[corpus] text_column {spec.text_column!r}: {spec.source} has the columns {names}"])
    return [text for text in table[spec.text_column] if text and text.strip()]


def file_texts(path: Path, column: str) -> Iterator[str]:
    """The non-empty texts of one file, in its order."""
    read = {".txt": txt_texts, ".jsonl": jsonl_texts, ".parquet": parquet_texts}[path.suffix]
    try:
        yield from (text for text in read(path, column) if text and text.strip())
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise SpecError([f"[corpus] {path.name} cannot be read: {error}"]) from error


def txt_texts(path: Path, column: str) -> Iterator[str]:
    """One text a line."""
    with path.open(encoding="utf-8") as file:
        yield from (line.strip() for line in file)


def jsonl_texts(path: Path, column: str) -> Iterator[str | None]:
    """One object a line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = json.loads(line)[column]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise SpecError([f"[corpus] {path.name} line {number}: not a JSON object with {column!r}"]) from error
            if not isinstance(text, str | None):
                raise SpecError([f"[corpus] {path.name} line {number}: {column!r} holds {text!r}, not a text"])
            yield text


def parquet_texts(path: Path, column: str) -> list[str | None]:
    """One row a text."""
    schema = pq.read_schema(path)
    if column not in schema.names:
        raise SpecError([f"[corpus] text_column {column!r}: {path.name} has the columns {', '.join(schema.names)}"])
    kind = schema.field(column).type
    if kind not in (pa.string(), pa.large_string(), pa.string_view()):
        raise SpecError([f"[corpus] text_column {column!r}: in {path.name} it holds {kind}, not text"])
    return pq.read_table(path, columns=[column])[column].to_pylist()
