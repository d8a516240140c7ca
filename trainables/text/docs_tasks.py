"""Tasks made of the docstrings of this install: `docs:` and package, section, pairs, order or missing.

A text of train is in no other split (docstrings.py). Word embeddings alone go far on the first three. `order` and
`missing` cannot be told from the words themselves: what counts is what an encoder makes of their context.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spaces.errors import SpecError, choose
from trainables.text.docstrings import docs_table

PACKAGE_NAMES = re.compile(
    r"\b(pytorch|torch|transformers|ray|pandas|scipy|sklearn|scikit-learn|sympy|python|numpy|pd|np)\b", re.IGNORECASE
)
SHORTEST, LONGEST = 8, 40
"""Words of a paragraph of the tasks `order` and `missing`."""
MISSING = (
    "if", "are", "or", "be", "that", "from", "on", "by", "as", "with", "and", "is", "for", "in", "to", "of"
)  # fmt: skip
"""The words that may be missing, rare ones first."""
MOST = 10_000
"""Examples of a split, drawn at random from all that could be made; a study reads fewer."""
MASK = "[MASK]"
"""Stands for a missing word, whatever the tokenizer's own sign is."""

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
    """Classes of equal size, shuffled, MOST examples at most."""
    groups = {name: [row["text"] for row in rows if row[column] == name] for name in names}
    if missing := [name for name, group in groups.items() if not group]:
        raise SpecError([f"docs task by {column}: no paragraph of {', '.join(missing)} in the installed packages"])
    size = min(MOST // len(names), *(len(group) for group in groups.values()))
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
    several = [group for group in by_docstring.values() if len(group) > 1]
    examples = []
    for place in rng.permutation(len(several))[:MOST]:
        group = several[place]
        first, second = (group[i] for i in rng.permutation(len(group))[:2])
        stranger = rows[rng.integers(len(rows))]
        if stranger["docstring"] == first["docstring"]:
            continue
        same = bool(rng.integers(2))
        examples.append((first["text"], (second if same else stranger)["text"], int(same)))
    texts, partners, labels = zip(*examples, strict=True)
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
        plain = [word.lower() if word.isalpha() else "" for word in words]
        places = (k for k, (a, b) in enumerate(pairwise(plain)) if a and b and a != b)
        first = next(places, None)
        if first is None:
            continue
        shifted = len(texts) % 2
        if shifted:
            known = [first, *places]
            k = known[rng.integers(len(known))]
            words[k], words[k + 1] = words[k + 1], words[k]
        texts.append(" ".join(words))
        labels.append(shifted)
        if len(texts) == MOST:
            break
    return {"text": texts, "label": labels, "label_names": ["in order", "shifted"]}


def missing_examples(rows: Rows, rng: np.random.Generator) -> Examples:
    """Which of sixteen small words is missing? The one word of each paragraph that has a label (a cloze, Taylor 1953).

    As many of each word: the state at the mask must tell it from the context, as in masked language modelling.
    """
    small, enough = frozenset(MISSING), MOST // len(MISSING)
    groups: dict[str, list[tuple[list[str], int]]] = {word: [] for word in MISSING}
    for i in rng.permutation(len(rows)):
        words = rows[i]["text"].split()
        if not SHORTEST <= len(words) <= LONGEST:
            continue
        present = [word for word in words if word in small]
        if once := [word for word in MISSING if present.count(word) == 1]:
            word = min(once, key=lambda each: len(groups[each]))
            groups[word].append((words, words.index(word)))
            if len(groups[word]) >= enough and min(map(len, groups.values())) == enough:
                break
    size = min(len(group) for group in groups.values())
    if not size:
        raise SpecError([f"docs:missing: no paragraph has the word {next(w for w in MISSING if not groups[w])!r}"])
    chosen = [(*each, MISSING.index(word)) for word, group in groups.items() for each in group[:size]]
    texts: list[list[str]] = []
    labels: list[list[int | None]] = []
    for i in rng.permutation(len(chosen)):
        words, place, label = chosen[i]
        texts.append([*words[:place], MASK, *words[place + 1 :]])
        labels.append([label if k == place else None for k in range(len(words))])
    return {"text": texts, "label": labels, "label_names": list(MISSING)}


@lru_cache(maxsize=1)
def paragraphs_of(file: Path) -> pa.Table:
    """The table of all paragraphs, kept for the next task: a study mostly has several."""
    return pq.read_table(file)


DOCS_TASKS: dict[str, Callable[[Rows, np.random.Generator], Examples]] = {
    "package": package_examples,
    "section": section_examples,
    "pairs": pair_examples,
    "order": order_examples,
    "missing": missing_examples,
}


def docs_task(name: str, progress: Callable[[str], None] = lambda line: None) -> dict[str, Examples]:
    """A task by name: split -> text (words of `missing`), text2 of pairs, label, label_names. Always the same."""
    build = choose("docs task", DOCS_TASKS, name)
    rows = paragraphs_of(docs_table(progress)).to_pylist()
    return {
        split: build([row for row in rows if row["split"] == split], np.random.default_rng([13, len(split)]))
        for split in ("train", "dev", "test")
    }
