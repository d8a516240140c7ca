"""English prose that every install has: the docstrings of Python itself and of stillhouse's own dependencies.

Files are parsed, never imported. Each docstring becomes paragraphs with the package of origin, the kind of section they
stand in and a split that is drawn per docstring, so that no docstring (and no text) is in two splits. The corpus
trains on the train split alone; the tasks below (`docs:package`, `docs:section`, `docs:pairs`, `docs:order`) report on
the others. Word embeddings alone go far on the first three; `order` cannot be told from a bag of words.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spaces.errors import SpecError, StillhouseError, choose
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
PACKAGE_NAMES = re.compile(
    r"\b(pytorch|torch|transformers|ray|pandas|scipy|sklearn|scikit-learn|sympy|python|numpy|pd|np)\b", re.IGNORECASE
)
MINIMUM_LETTERS = 40
SHORTEST, LONGEST = 8, 40
"""Words of a paragraph of the task `order`."""
SPLIT_OF_BUCKET = ("dev", "test")  # buckets 0 and 1 of 10; every other one trains
SCHEMA = pa.schema([
    ("text", pa.string()), ("package", pa.string()), ("docstring", pa.string()), ("section", pa.string()),
    ("split", pa.string()),
])  # fmt: skip


def sources() -> list[tuple[str, str]]:
    """(package, file) of every Python file that is read, in a fixed order."""
    roots = [("python", Path(sysconfig.get_paths()["stdlib"]))]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            roots.append((name, Path(next(iter(spec.submodule_search_locations)))))
    found = []
    for package, root in roots:
        for path in sorted(root.rglob("*.py")):
            if not SKIPPED_FOLDERS.intersection(path.relative_to(root).parts[:-1]):
                found.append((package, str(path)))
    return found


def docstrings(source: str) -> Iterator[str]:
    """The cleaned docstrings of a module, its classes and functions, in the order of the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


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
        text = re.sub(r"\s+", " ", " ".join(lines)).strip()
        if text:
            yield section, text


def is_prose(text: str) -> bool:
    """Enough letters, and mostly letters: tables, rulers and pure code are left out."""
    letters = sum(character.isalpha() or character == " " for character in text)
    return letters >= MINIMUM_LETTERS and letters >= 0.75 * len(text) and text.isascii()


def read_file(job: tuple[str, str]) -> list[tuple[str, str, str, str]]:
    """(text, package, docstring id, section) rows of one file; a file that does not parse gives none."""
    package, path = job
    try:
        source = Path(path).read_text(encoding="utf-8")
        texts = list(docstrings(source)) if '"""' in source or "'''" in source else []
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
    folder = cache_folder() / "docs" / digest(2, sysconfig.get_python_version(), *versions, *sorted(SKIPPED_FOLDERS))
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


Rows = list[dict[str, str]]
Examples = dict[str, list]


def package_examples(rows: Rows, rng: np.random.Generator) -> Examples:
    """Which package does this paragraph come from? Names of packages are masked out of the text."""
    kept = ("python", "torch", "transformers", "ray", "pandas", "scipy", "sklearn", "sympy")
    rows = [row for row in rows if row["package"] in kept and row["section"] == "description"]
    return labelled(rows, "package", kept, rng)


def section_examples(rows: Rows, rng: np.random.Generator) -> Examples:
    """Which kind of section does this paragraph stand in?"""
    kept = ("description", "parameters", "returns", "examples", "notes")
    return labelled([row for row in rows if row["section"] in kept], "section", kept, rng)


def labelled(rows: Rows, column: str, names: tuple[str, ...], rng: np.random.Generator) -> Examples:
    """Classes of equal size, shuffled."""
    groups = {name: [row["text"] for row in rows if row[column] == name] for name in names}
    if missing := [name for name, group in groups.items() if not group]:
        raise SpecError([f"docs task by {column}: no paragraph of {', '.join(missing)} in the installed packages"])
    size = min(len(group) for group in groups.values())
    chosen = [
        (group[i], names.index(name)) for name, group in groups.items() for i in rng.permutation(len(group))[:size]
    ]
    order = rng.permutation(len(chosen))
    return {
        "text": [hide_names(chosen[i][0]) for i in order],
        "label": [chosen[i][1] for i in order],
        "label_names": list(names),
    }


def hide_names(text: str) -> str:
    """Package names replaced by a neutral word, so that the label cannot be read off the text."""
    return PACKAGE_NAMES.sub("it", text)


def pair_examples(rows: Rows, rng: np.random.Generator) -> Examples:
    """Do two paragraphs come from one docstring? The wrong partner comes from any other docstring."""
    by_docstring: dict[str, Rows] = {}
    for row in rows:
        by_docstring.setdefault(row["docstring"], []).append(row)
    examples = []
    for group in by_docstring.values():
        if len(group) < 2:
            continue
        first, second = (group[i] for i in rng.permutation(len(group))[:2])
        stranger = rows[rng.integers(len(rows))]
        if stranger["docstring"] == first["docstring"]:
            continue
        same = bool(rng.integers(2))
        examples.append((first["text"], (second if same else stranger)["text"], int(same)))
    order = rng.permutation(len(examples))
    texts, partners, labels = zip(*(examples[i] for i in order), strict=True)
    return {"text": list(texts), "text2": list(partners), "label": list(labels), "label_names": ["other", "same"]}


def order_examples(rows: Rows, rng: np.random.Generator) -> Examples:
    """Do the words stand in their order? In half of the paragraphs two neighbouring words have changed places.

    Bigram shift (Conneau et al. 2018, arXiv:1805.01070): a bag of words cannot tell, so what counts here is context.
    """
    texts: list[str] = []
    labels: list[int] = []
    for i in rng.permutation(len(rows)):
        words = rows[i]["text"].split()
        if not SHORTEST <= len(words) <= LONGEST:
            continue
        places = [
            k for k, (a, b) in enumerate(pairwise(words)) if a.isalpha() and b.isalpha() and a.lower() != b.lower()
        ]
        if not places:
            continue
        shifted = len(texts) % 2
        if shifted:
            k = int(rng.choice(places))
            words[k], words[k + 1] = words[k + 1], words[k]
        texts.append(" ".join(words))
        labels.append(shifted)
    return {"text": texts, "label": labels, "label_names": ["in order", "shifted"]}


DOCS_TASKS: dict[str, Callable[[Rows, np.random.Generator], Examples]] = {
    "package": package_examples,
    "section": section_examples,
    "pairs": pair_examples,
    "order": order_examples,
}


def docs_task(name: str, progress: Callable[[str], None] = lambda line: None) -> dict[str, Examples]:
    """A task by name: split -> text, text2 (pairs only), label, label_names. The same on every call."""
    build = choose("docs task", DOCS_TASKS, name)
    rows = pq.read_table(docs_table(progress)).to_pylist()
    return {
        split: build([row for row in rows if row["split"] == split], np.random.default_rng([13, len(split)]))
        for split in ("train", "dev", "test")
    }
