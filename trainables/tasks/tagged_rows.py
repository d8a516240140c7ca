"""Rows of token classification: sentences as lists of words, each with a tag, and how they become token ids.

Every word is read and scored at its first sub-token. Words whose first sub-token is cut off by truncation, or that the
tokenizer makes nothing of, are dropped from every split alike and counted.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from trainables.tasks.entities import is_bio
from trainables.tasks.rows import Rows, place
from trainables.tasks.spec import TaskSpec

Ragged = tuple[np.ndarray, np.ndarray]
"""Lists one after the other, and where each starts, with the end."""


@dataclass(frozen=True)
class TaggedRows:
    """One checked split: the words of each sentence and their tag ids (int64)."""

    sentences: list[list[str]]
    tags: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def labels(self) -> np.ndarray:
        """The tags of all words, one sentence after the other."""
        return np.concatenate(self.tags)

    def take(self, indices: Sequence[int] | np.ndarray) -> "TaggedRows":
        """The sentences at these indices, in their order."""
        return TaggedRows([self.sentences[i] for i in indices], [self.tags[i] for i in indices])

    def examples(self) -> list[tuple[str, ...]]:
        """What makes two rows the same example: the words."""
        return [tuple(words) for words in self.sentences]

    def strata(self) -> np.ndarray:
        """A sentence has no class: all belong to one group."""
        return np.zeros(len(self), dtype=np.int64)


AnyRows = Rows | TaggedRows


def tagged_rows(
    spec: TaskSpec, raw: Mapping[str, Mapping[str, list]], names: tuple[str, ...]
) -> tuple[dict[str, AnyRows], tuple[str, ...]]:
    """(split -> rows, tag names) of the columns `text` and `label` of each split.

    Tags are ids of the known names, or names themselves; where no names are known they are those of all splits, sorted,
    or the ids. Raises SpecError with every problem found, each with the first row that has it.
    """
    problems = [problem for split, columns in raw.items() for problem in shape_problems(spec, split, columns)]
    if problems:
        raise SpecError(problems)
    flat_tags = [tag for columns in raw.values() for tags in columns["label"] for tag in tags]
    if any(isinstance(tag, str) for tag in flat_tags):
        names = names or tuple(sorted({tag for tag in flat_tags if isinstance(tag, str)}))
        number: dict[Any, int] = {name: i for i, name in enumerate(names)}
    else:
        whole = [tag for tag in flat_tags if isinstance(tag, int)]
        names = names or tuple(str(i) for i in range(max(whole, default=-1) + 1))
        number = {i: i for i in range(len(names))}
    for split, columns in raw.items():
        unknown = next(
            ((row, tag) for row, tags in enumerate(columns["label"]) for tag in tags if tag not in number), None
        )
        if unknown is not None:
            rule = f"a tag id from 0 to {len(names) - 1}" if 0 in number else f"one of {', '.join(names)}"
            where = f"{place(spec, split)}: column {spec.label_column!r}, row {unknown[0]}"
            problems.append(f"{where} has the tag {unknown[1]!r}, not {rule}")
    if spec.metric == "entity_f1" and not is_bio(names):
        strange = next((name for name in names if name != "O" and name[:2] not in ("B-", "I-")), "no B- or I- at all")
        problems.append(f"task {spec.name!r}: entity_f1 needs tags O, B-X and I-X; {spec.source!r} has {strange}")
    if problems:
        raise SpecError(problems)
    return {
        split: TaggedRows(
            columns["text"], [np.array([number[tag] for tag in tags], dtype=np.int64) for tags in columns["label"]]
        )
        for split, columns in raw.items()
    }, names


def shape_problems(spec: TaskSpec, split: str, columns: Mapping[str, list]) -> Iterable[str]:
    """What is wrong with the lists of a split, whatever the tags mean; one line for each rule that is broken."""
    where = place(spec, split)
    found: dict[str, str] = {}
    for row, (words, tags) in enumerate(zip(columns["text"], columns["label"], strict=True)):
        start = f"{where}: column {spec.text_column!r}, row {row}"
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            found.setdefault("words", f"{start} is {shortened(words)}, not a list of words")
        elif not words:
            found.setdefault("empty", f"{start} has no words")
        elif isinstance(tags, list) and len(tags) != len(words):
            found.setdefault("length", f"{start} has {len(words)} words but {len(tags)} tags in {spec.label_column!r}")
        if not isinstance(tags, list):
            start = f"{where}: column {spec.label_column!r}, row {row}"
            found.setdefault("tags", f"{start} is {shortened(tags)}, not a list of tags")
    return found.values()


def shortened(value: Any) -> str:
    """A value in an error."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def encode_words(
    rows: TaggedRows, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[dict[str, Ragged], np.ndarray, int]:
    """(views `text` and `words`, tags of the words that are left, how many words were dropped)."""
    backend = word_tokenizer(tokenizer)
    backend.enable_truncation(max_length)
    ids, starts, tags = [], [], []
    for encoding, own in zip(backend.encode_batch(rows.sentences, is_pretokenized=True), rows.tags, strict=True):
        first: dict[int, int] = {}
        for position, word in enumerate(encoding.word_ids):
            if word is not None:
                first.setdefault(word, position)
        ids.append(encoding.ids)
        starts.append(list(first.values()))
        tags.append(own[list(first)])
    dropped = sum(map(len, rows.sentences)) - sum(map(len, starts))
    return {"text": flat(ids), "words": flat(starts)}, np.concatenate(tags), dropped


def word_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy for lists of words. Byte-level BPE gets a space before every word, as within a text, not only if asked."""
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    splitter = raw.get("pre_tokenizer") or {}
    for step in splitter.get("pretokenizers", [splitter]):
        if step.get("type") == "ByteLevel":
            step["add_prefix_space"] = True
    raw["truncation"] = raw["padding"] = None
    return Tokenizer.from_str(json.dumps(raw))


def flat(lists: Sequence[Sequence[int]]) -> Ragged:
    """(all numbers, int32, one list after the other; where each list starts, and the end)."""
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in lists])]).astype(np.int64)
    return np.fromiter((i for each in lists for i in each), np.int32, int(offsets[-1])), offsets
