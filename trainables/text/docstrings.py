"""English prose that every install has: the docstrings of Python itself and of stillhouse's own dependencies.

Modules are read, never imported: from the bytecode that Python keeps beside each file, in a tenth of the time that
parsing it takes, or compiled where there is none. Each docstring becomes paragraphs with the package of origin, the
kind of section they stand in and a split that is drawn per docstring, so that no docstring (and no text) is in two
splits. The corpus trains on the train split alone; the tasks of docs_tasks.py report on the others.
"""

import dis
import hashlib
import importlib.metadata
import importlib.util
import inspect
import marshal
import os
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from types import CodeType

import pyarrow as pa
import pyarrow.parquet as pq

from spaces.errors import StillhouseError
from trainables.cache import cache_folder, digest, new_folder

PACKAGES = (
    "torch", "transformers", "ray", "pandas", "numpy", "scipy", "sklearn", "sympy", "networkx", "optuna", "pyarrow",
    "datasets", "huggingface_hub", "tokenizers", "safetensors", "accelerate", "sqlalchemy", "alembic", "jinja2",
    "fsspec", "aiohttp", "rich", "requests", "click", "pydantic", "setuptools", "plotly",
)  # fmt: skip
SKIPPED_FOLDERS = {
    "tests", "test", "testing", "_vendor", "thirdparty_files", "site-packages", "graph_objs", "graph_objects",
    "validators", "idlelib", "lib2to3", "__pycache__", "vendored", "models",
}  # fmt: skip
SECTIONS = {
    "parameters": "parameters", "args": "parameters", "arguments": "parameters", "other parameters": "parameters",
    "keyword args": "parameters", "attributes": "parameters", "returns": "returns", "return": "returns",
    "yields": "returns", "raises": "raises", "warns": "raises", "examples": "examples", "example": "examples",
    "notes": "notes", "note": "notes", "references": "references", "see also": "references",
}  # fmt: skip
MINIMUM_LETTERS = 40
OTHERS = bytes(code for code in range(128) if not chr(code).isalpha() and chr(code) != " ")
"""What is no letter."""
HEADER_BYTES = 16
"""Of a file of bytecode: a number of Python's version, flags, and when its source was written and how long it was."""
FIRST = 24
"""Instructions of a module or class among which its docstring is stored."""
HAS_DOCSTRING = getattr(inspect, "CO_HAS_DOCSTRING", 0)
"""The flag of a function whose first constant is its docstring; before Python 3.14 it is, or is None."""
SPLIT_OF_BUCKET = ("dev", "test")  # buckets 0 and 1 of 10; every other one trains
SCHEMA = pa.schema([
    ("text", pa.string()), ("package", pa.string()), ("docstring", pa.string()), ("section", pa.string()),
    ("split", pa.string()),
])  # fmt: skip


def sources() -> list[tuple[str, str]]:
    """(package, file) of every Python file that is read, in a fixed order."""
    roots = [("python", sysconfig.get_paths()["stdlib"])]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            roots.append((name, next(iter(spec.submodule_search_locations))))
    return [(package, path) for package, root in roots for path in python_files(root)]


def python_files(root: str) -> list[str]:
    """Those of a folder and of all below it that are not in SKIPPED_FOLDERS."""
    found = []
    for folder, below, names in os.walk(root):
        below[:] = sorted(set(below) - SKIPPED_FOLDERS)
        found += [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
    return found


def code_of(path: str) -> CodeType:
    """A module, compiled: as Python keeps it where that belongs to this source, else anew. Nothing is run or written.

    Raises SyntaxError, ValueError or RecursionError for what is no Python.
    """
    about = os.stat(path)
    source = (int(about.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (about.st_size & 0xFFFFFFFF).to_bytes(
        4, "little"
    )
    kept = Path(importlib.util.cache_from_source(path, optimization=""))
    if kept.is_file():
        data = kept.read_bytes()
        if data[:HEADER_BYTES] == importlib.util.MAGIC_NUMBER + bytes(4) + source:
            code = marshal.loads(memoryview(data)[HEADER_BYTES:])
            if isinstance(code, CodeType):
                return code
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(Path(path).read_bytes(), path, "exec", dont_inherit=True, optimize=0)


def docstrings(code: CodeType) -> Iterator[str]:
    """The cleaned docstrings of a compiled module, its classes and functions, each before what is inside it."""
    if text := inspect.cleandoc(docstring_of(code)):
        yield text
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from docstrings(constant)


def docstring_of(code: CodeType) -> str:
    """The first constant of a function, and what a module or class stores as `__doc__`; "" where there is none."""
    if code.co_flags & inspect.CO_OPTIMIZED:
        is_named = not code.co_name.startswith("<")  # <lambda>, <genexpr>
        first = code.co_consts[0] if code.co_consts and is_named else None
        return first if isinstance(first, str) and code.co_flags & HAS_DOCSTRING == HAS_DOCSTRING else ""
    if "__doc__" in code.co_names:
        for value, target in pairwise(islice(dis.get_instructions(code), FIRST)):
            stores = target.opname in ("STORE_NAME", "STORE_GLOBAL") and target.argval == "__doc__"
            if stores and value.opname.startswith("LOAD_CONST"):
                return value.argval if isinstance(value.argval, str) else ""
    return ""


def paragraphs(docstring: str) -> Iterator[tuple[str, str]]:
    """(section kind, text) of each paragraph; a header names the section of what follows and is itself left out."""
    section = "description"
    for block in re.split(r"\n\s*\n", docstring):
        lines = [line.strip() for line in block.strip().splitlines()]
        while lines:
            header = SECTIONS.get(lines[0].rstrip(":").strip("*_ ").lower())
            if header is None or len(lines[0]) > 24:
                break
            section = header
            lines = lines[2:] if len(lines) > 1 and re.fullmatch(r"[-=~]{3,}", lines[1]) else lines[1:]
        if text := " ".join(" ".join(lines).split()):
            yield section, text


def is_prose(text: str) -> bool:
    """Enough letters, and mostly letters: tables, rulers and pure code are left out."""
    if not text.isascii():
        return False
    letters = len(text.encode().translate(None, OTHERS))
    return letters >= MINIMUM_LETTERS and letters >= 0.75 * len(text)


def read_file(job: tuple[str, str]) -> list[tuple[str, str, str, str]]:
    """(text, package, docstring id, section) rows of one file; a file that does not parse gives none."""
    package, path = job
    try:
        texts = list(docstrings(code_of(path)))
    except (SyntaxError, ValueError, RecursionError):
        return []
    rows = []
    for docstring in texts:
        key = hashlib.sha256(docstring.encode()).hexdigest()[:16]
        rows += [(text, package, key, section) for section, text in paragraphs(docstring) if is_prose(text)]
    return rows


def docs_place() -> Path:
    """Where the table of all paragraphs is, or would be."""
    versions = [f"{name} {version_of(name)}" for name in PACKAGES]
    folder = cache_folder() / "docs" / digest(3, sysconfig.get_python_version(), *versions, *sorted(SKIPPED_FOLDERS))
    return folder / "paragraphs.parquet"


def docs_are_built() -> bool:
    """Whether the docstrings of this install were collected before."""
    return docs_place().is_file()


def docs_table(progress: Callable[[str], None] = lambda line: None) -> Path:
    """The Parquet file of all paragraphs, built on first use and kept in the cache.

    Keyed by the versions of the packages read, so that an upgrade builds a new one.
    """
    table = docs_place()
    folder = table.parent
    if table.is_file():
        return table
    files = sources()
    seen: set[str] = set()
    columns: dict[str, list[str]] = {name: [] for name in SCHEMA.names}
    with ProcessPoolExecutor() as pool:
        for number, rows in enumerate(pool.map(read_file, files, chunksize=32), start=1):
            for text, package, key, section in rows:
                if text in seen:
                    continue
                seen.add(text)
                bucket = int(key, 16) % 10
                split = SPLIT_OF_BUCKET[bucket] if bucket < len(SPLIT_OF_BUCKET) else "train"
                for name, value in zip(SCHEMA.names, (text, package, key, section, split), strict=True):
                    columns[name].append(value)
            if number % 1000 == 0 or number == len(files):
                progress(f"docs: {number:,} of {len(files):,} files read, {len(seen):,} paragraphs")
    if not seen:
        raise StillhouseError("the docs corpus is empty: no docstring was found in the installed packages")
    with new_folder(folder) as unfinished:
        pq.write_table(pa.table(columns, schema=SCHEMA), unfinished / "paragraphs.parquet", compression="zstd")
    return table


@cache
def version_of(package: str) -> str:
    """The installed version, 'absent' where there is none."""
    try:
        return importlib.metadata.version({"sklearn": "scikit-learn"}.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def docs_texts(split: str, progress: Callable[[str], None] = lambda line: None) -> list[str]:
    """One text per docstring of a split: its paragraphs in their order."""
    table = pq.read_table(docs_table(progress), columns=["text", "docstring", "split"], filters=[("split", "=", split)])
    texts: dict[str, list[str]] = {}
    for text, key in zip(table["text"].to_pylist(), table["docstring"].to_pylist(), strict=True):
        texts.setdefault(key, []).append(text)
    return [" ".join(parts) for parts in texts.values()]
