"""A tag for each word: a row is a list of words with a list of tags.

Every word is read and scored at its first sub-token. Words whose first sub-token is cut off by truncation, or that the
tokenizer makes nothing of, are dropped from every split alike and counted. A word whose tag is null or -100, which is
what PyTorch's losses pass over, is read as context and not scored.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from trainables.tasks.data import Rows, Split
from trainables.tasks.kind import Protocol, TaskKind
from trainables.tasks.metrics import METRICS
from trainables.tasks.protocols.features import word_features
from trainables.tasks.protocols.finetune import finetune
from trainables.tasks.protocols.heads import CLASSES
from trainables.tasks.protocols.probe import probe
from trainables.tasks.reading.rows import columns_by_role, is_known, labels_by_split, numbering, stored_names
from trainables.tasks.reading.sources import read_tables
from trainables.tasks.reading.tables import Column, TaskSource
from trainables.tasks.sampling import as_one
from trainables.text.docs_tasks import MASK
from trainables.text.ragged import Ragged, ragged
from trainables.text.tables import Table

MAX_FITTED_WORDS = 4000
"""A tagged sentence gives the probe some twenty examples, and its fits take time in proportion."""
NOT_SCORED = -100
"""`ignore_index` of PyTorch's cross entropy, with which data sets for transformers mark words without a tag."""
UNSCORED = (NOT_SCORED, str(NOT_SCORED))
METRICS_OF_TAGS = (METRICS["accuracy"], METRICS["entity_f1"])


def read(source: TaskSource) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """(sentences by split, tag names).

    Tags are ids of the known names, or names themselves; where no names are known they are those of all splits, sorted,
    or the ids. Raises SpecError with every problem found, each with the first row that has it.
    """
    problems: list[str] = []
    tables = read_tables(source)
    columns = columns_by_role(source, tables, problems)
    for split, by_role in columns.items():
        problems += shape_problems(source, split, by_role["text"], by_role["label"])
    if problems:
        raise SpecError(problems)
    tables = scored_tags(source, tables)
    stored = stored_names(source, tables)
    names, ids = tag_ids(source, labels_by_split(source, tables, stored), stored, problems)
    if problems:
        raise SpecError(problems)
    rows = {}
    for split, by_role in columns.items():
        inputs = {"text": [tuple(words) for words in by_role["text"]]}
        if len(ids[split].values) < sum(map(len, inputs["text"])):
            inputs["scored"] = [
                tuple(place for place, tag in enumerate(tags) if is_scored(tag)) for tags in by_role["label"]
            ]
        rows[split] = Rows(inputs, ids[split])
    return rows, names


def is_scored(tag: Any) -> bool:
    """Whether this is a tag, and not the sign that a word has none."""
    return tag is not None and tag not in UNSCORED


def scored_tags(source: TaskSource, tables: Mapping[str, Table]) -> dict[str, Table]:
    """The tables without the signs of words that have no tag; says how many those are."""
    label = source.columns["label"].name
    given = {split: table.columns[label] for split, table in tables.items()}
    tags = {split: [list(filter(is_scored, each)) for each in column] for split, column in given.items()}
    words, scored = (sum(len(each) for column in every.values() for each in column) for every in (given, tags))
    if scored < words:
        without = f"{words - scored:,} of {words:,} words have no tag (null or {NOT_SCORED})"
        source.say(f"task {source.task}: {without}; they are read and not scored")
    return {split: replace(table, columns={**table.columns, label: tags[split]}) for split, table in tables.items()}


def tag_ids(
    source: TaskSource, tags: Mapping[str, list[list]], names: tuple[str, ...], problems: list[str]
) -> tuple[tuple[str, ...], dict[str, Ragged]]:
    """(tag names, ids of each sentence by split)."""
    number, rule = numbering([tag for column in tags.values() for sentence in column for tag in sentence], names)
    ids = {}
    for split, column in tags.items():
        every = ((row, tag) for row, sentence in enumerate(column) for tag in sentence)
        strange = next(((row, tag) for row, tag in every if not is_known(tag, number)), None)
        if strange is None:
            ids[split] = ragged([[number[tag] for tag in sentence] for sentence in column], np.int64)
        else:
            problems.append(f"{source.place(split, 'label', strange[0])} has the tag {strange[1]!r}, not {rule}")
    return tuple(map(str, number)), ids


def shape_problems(source: TaskSource, split: str, sentences: list, tags_of: list) -> Iterable[str]:
    """What is wrong with the lists of a split, whatever the tags mean; one line for each rule that is broken."""
    label = source.columns["label"].name
    found: dict[str, str] = {}
    for row, (words, tags) in enumerate(zip(sentences, tags_of, strict=True)):
        start = source.place(split, "text", row)
        if not isinstance(words, list) or not set(map(type, words)) <= {str}:
            found.setdefault("words", f"{start} is {shortened(words)}, not a list of words")
        elif not words:
            found.setdefault("empty", f"{start} has no words")
        elif isinstance(tags, list) and len(tags) != len(words):
            found.setdefault("length", f"{start} has {len(words)} words but {len(tags)} tags in {label!r}")
        if not isinstance(tags, list):
            start = source.place(split, "label", row)
            found.setdefault("tags", f"{start} is {shortened(tags)}, not a list of tags")
    return found.values()


def shortened(value: Any) -> str:
    """A value in an error."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def encode_words(rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Split:
    """Views `text` and `words` (where in its text each scored word starts), and the tags of the words that are left.

    The sign for a missing word becomes the tokenizer's own.
    """
    backend = word_tokenizer(tokenizer)
    backend.enable_truncation(max_length)
    ids, starts, tags = [], [], []
    mask = tokenizer.mask_token or MASK
    texts = [[mask if word == MASK else word for word in words] for words in rows.inputs["text"]]
    for row, encoding in enumerate(backend.encode_batch(texts, is_pretokenized=True)):
        first: dict[int, int] = {}
        for position, word in enumerate(encoding.word_ids):
            if word is not None:
                first.setdefault(word, position)
        scored = rows.inputs["scored"][row] if "scored" in rows.inputs else range(len(texts[row]))
        left = [number for number, place in enumerate(scored) if place in first]
        ids.append(encoding.ids)
        starts.append([first[scored[number]] for number in left])
        tags.append(rows.labels[row][left])
    return Split({"text": ragged(ids, np.int32), "words": ragged(starts, np.int32)}, ragged(tags, np.int64))


def word_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy for lists of words. Byte-level BPE gets a space before every word, as within a text, not only if asked."""
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    splitter = raw.get("pre_tokenizer") or {}
    for step in splitter.get("pretokenizers", [splitter]):
        if step.get("type") == "ByteLevel":
            step["add_prefix_space"] = True
    raw["truncation"] = raw["padding"] = None
    return Tokenizer.from_str(json.dumps(raw))


KIND = TaskKind(
    doc="a tag for each word of a text, such as a part of speech or a name's",
    columns={"text": Column("tokens"), "label": Column("label")},
    read=read,
    encode=encode_words,
    strata=as_one,
    protocols={
        "probe": Protocol(
            partial(probe, features=word_features, head=CLASSES, max_labels=MAX_FITTED_WORDS), METRICS_OF_TAGS
        ),
        "finetune": Protocol(partial(finetune, head=CLASSES), METRICS_OF_TAGS),
    },
    hub_task="token-classification",
)
