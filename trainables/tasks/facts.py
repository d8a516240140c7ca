"""What a prepared task is, and what was left out, cut or could not be read on the way."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spaces.records.data import TaskFacts
from trainables.tasks.data import Split
from trainables.text.splits import SPLIT_WORDS

SPECIAL = 2
"""Tokens that every text has beside its own."""


def place(split: str) -> int:
    """Of a split among others: train, dev, test, and what else a kind has."""
    return [*SPLIT_WORDS, split].index(split)


def task_facts(
    meta: Mapping[str, Any],
    splits: Mapping[str, Split],
    label_names: Sequence[str],
    unknown_id: int | None,
    notes: Sequence[str] = (),
    *,
    estimated: bool = False,
) -> TaskFacts:
    """The facts of a task from its `meta` (see prepare.py) and its splits, of which the views may be a sample."""
    views = [split.views["text"] for split in splits.values() if "text" in split.views]
    longest = [split.views["pair"] for split in splits.values() if "pair" in split.views] or views
    lengths = np.concatenate([view.lengths() for view in longest]) if longest else np.zeros(0)
    tokens = sum(max(0, int(view.lengths().sum()) - SPECIAL * len(view)) for view in views)
    unknown = sum(int((np.asarray(view.values) == unknown_id).sum()) for view in views) if unknown_id is not None else 0
    absent = {}
    for split, data in splits.items():
        found = set(np.unique(data.labels.values).tolist()) if len(label_names) else set()
        if found and (missing := [name for number, name in enumerate(label_names) if number not in found]):
            absent[split] = tuple(missing)
    dev = splits["dev"].labels.values if "dev" in splits and len(label_names) else ()
    return TaskFacts(
        rows={split: meta["sizes"][split] for split in sorted(meta["sizes"], key=place)},
        classes=len(label_names),
        dev_from_train=meta["dev_from_train"],
        dropped_from_train=meta["dropped_from_train"],
        labels_dropped=sum(meta["labels_dropped"].values()),
        documents_left_out=max(0, meta["num_documents"] - meta["sizes"].get("documents", 0)),
        max_length=meta["max_length"],
        row_tokens=sum(split.num_tokens for split in splits.values()) / max(1, sum(map(len, views))),
        full=float(np.mean(lengths >= meta["max_length"])) if len(lengths) else 0.0,
        unknown=unknown / tokens if tokens else 0.0,
        absent=absent,
        commonest=float(np.bincount(np.asarray(dev)).max() / len(dev)) if len(dev) else None,
        notes=tuple(notes),
        estimated=estimated,
    )
