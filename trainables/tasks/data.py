"""Labelled tasks, tokenised once per study and then memory-mapped by every trial.

A prepared task is a folder: `meta.json` and, per split, `SPLIT.labels.npy` plus for each view `SPLIT.VIEW.ids.npy` (all
token ids one after the other) and `SPLIT.VIEW.offsets.npy` (where each text starts, and the end). Views: `text`; for
pairs also `text2` (the second text alone, for separately encoded pairs) and `pair` (both in one sequence, for
cross-encoding). For token classification `words` says in the same way where in its text each scored word starts, and
the labels are those of the words. The folder is named by the digest of rows, tokenizer and options, and appears whole
or not at all.

Leakage: an example of train whose exact text (for pairs: both texts) also stands in dev or test is dropped from train
before anything is sampled; `meta.json` counts them as `dropped_from_train`. Nothing is dropped from dev or test.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.settings import problems_of
from trainables.cache import digest, new_folder
from trainables.tasks.metrics import KIND_METRICS, Metric, metric_of
from trainables.tasks.rows import Rows, strata_of
from trainables.tasks.sources import read_rows
from trainables.tasks.spec import TaskSpec, task_problems
from trainables.tasks.tagged_rows import AnyRows, TaggedRows, encode_words, flat
from trainables.text.packing import tokenizer_digest

FORMAT = 1
SPLITS = ("train", "dev", "test")
DEV_SHARE = 0.1
TOKENIZER_BATCH = 1000


@dataclass(frozen=True)
class Encoded:
    """Texts of one view as token ids: text i is ids[offsets[i]:offsets[i + 1]], special tokens included."""

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def lengths(self) -> np.ndarray:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """Where in `ids` the tokens of these texts stand, one text after the other."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])

    def take(self, rows: np.ndarray) -> "Encoded":
        """These texts, in memory."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths()[rows])]).astype(np.int64)
        return Encoded(np.asarray(self.ids[self.indices(rows)]), offsets)


@dataclass(frozen=True)
class Split:
    """One prepared split: a label for each text, or, where `words` says where they start, for each word."""

    views: dict[str, Encoded]
    labels: np.ndarray
    words: Encoded | None = None

    def __len__(self) -> int:
        return len(self.views["text"])

    def take(self, rows: np.ndarray) -> "Split":
        """These texts with their labels."""
        words = None if self.words is None else self.words.take(rows)
        views = {name: view.take(rows) for name, view in self.views.items()}
        return Split(views, np.asarray(self.labels)[self.label_indices(rows)], words)

    def label_indices(self, rows: np.ndarray) -> np.ndarray:
        """Where in `labels` the labels of these texts stand."""
        return rows if self.words is None else self.words.indices(rows)

    def strata(self) -> np.ndarray:
        """Group of each text, for stratified samples; sentences of tagged words are one group."""
        return strata_of(self.labels) if self.words is None else np.zeros(len(self), dtype=np.int64)

    def metric(self, name: str, label_names: Sequence[str], rows: np.ndarray | None = None) -> Metric:
        """The metric over the labels of these texts (of all by default), in their order."""
        lengths = np.ones(len(self), dtype=np.int64) if self.words is None else self.words.lengths()
        return metric_of(name, lengths if rows is None else lengths[rows], label_names)


@dataclass(frozen=True)
class TaskData:
    """A prepared task, its arrays memory-mapped and read-only."""

    name: str
    kind: str
    metric: str
    label_names: tuple[str, ...]
    pad_id: int
    splits: dict[str, Split]
    folder: Path
    meta: dict[str, Any]

    @property
    def is_pair(self) -> bool:
        """Whether each example has two texts."""
        return "text2" in self.splits["train"].views

    def size(self, split: str) -> int:
        """Number of examples; 0 for a split that the task does not have."""
        return len(self.splits[split]) if split in self.splits else 0

    def longest(self) -> int:
        """Tokens of the longest sequence of any split and view."""
        return max(int(view.lengths().max()) for split in self.splits.values() for view in split.views.values())


def prepare_task(spec: TaskSpec, tokenizer: PreTrainedTokenizerBase, cache: Path, *, seed: int = 0) -> Path:
    """Read, check, cut and tokenise a task into its folder under `cache`; the same content is prepared only once.

    Without a dev split a stratified tenth of train becomes dev. `max_train`, `max_dev` and `max_test` take stratified
    samples (regression: over ten equal groups of the sorted targets).
    """
    where = f"task {spec.name!r}:"
    if problems := [*problems_of(where, spec), *(f"{where} {problem}" for problem in task_problems(spec))]:
        raise SpecError(problems)
    rows, label_names = read_rows(spec)
    options = {**asdict(spec), "seed": seed, "format": FORMAT}
    for name in ("source", "language", "languages"):
        del options[name]
    key = digest(json.dumps(options, sort_keys=True), tokenizer_digest(tokenizer), rows_digest(rows), *label_names)
    folder = Path(cache) / "tasks" / f"{spec.name}-{key}"
    if (folder / "meta.json").is_file():
        return folder
    rows, dropped = separate(spec, rows, seed)
    for split, count in (("train", spec.max_train), ("dev", spec.max_dev), ("test", spec.max_test)):
        if split in rows and count is not None and count < len(rows[split]):
            strata = rows[split].strata()
            rows[split] = rows[split].take(np.sort(stratified_order(strata, generator(seed, split))[:count]))
    check_variety(spec, rows)
    words_dropped = {}
    with new_folder(folder) as unfinished:
        for split, data in rows.items():
            if isinstance(data, TaggedRows):
                views, labels, words_dropped[split] = encode_words(data, tokenizer, spec.max_length)
            else:
                views, labels = encode_views(data, tokenizer, spec.max_length), data.labels
            np.save(unfinished / f"{split}.labels.npy", labels)
            for view, (ids, offsets) in views.items():
                np.save(unfinished / f"{split}.{view}.ids.npy", ids)
                np.save(unfinished / f"{split}.{view}.offsets.npy", offsets)
        meta = {
            **asdict(spec),
            "format": FORMAT,
            "metric": spec.metric or KIND_METRICS[spec.kind][0],
            "label_names": list(label_names),
            "pad_id": tokenizer.pad_token_id or 0,
            "seed": seed,
            "sizes": {split: len(data) for split, data in rows.items()},
            "views": list(views),
            "dropped_from_train": dropped,
            **({"words_dropped": words_dropped} if words_dropped else {}),
        }
        (unfinished / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    return folder


def load_task(path: str | Path) -> TaskData:
    """A prepared task, memory-mapped."""
    folder = Path(path)
    file = folder / "meta.json"
    if not file.is_file():
        raise SpecError([f"{folder} is not a prepared task: it has no meta.json"])
    meta = json.loads(file.read_text(encoding="utf-8"))
    if meta["format"] != FORMAT:
        raise SpecError([f"{folder} is a prepared task of format {meta['format']}; this version reads {FORMAT}"])
    splits = {}
    for split in meta["sizes"]:
        views = {
            view: Encoded(
                np.load(folder / f"{split}.{view}.ids.npy", mmap_mode="r"),
                np.load(folder / f"{split}.{view}.offsets.npy", mmap_mode="r"),
            )
            for view in meta["views"]
        }
        words = views.pop("words", None)
        splits[split] = Split(views, np.load(folder / f"{split}.labels.npy", mmap_mode="r"), words)
    return TaskData(
        name=meta["name"],
        kind=meta["kind"],
        metric=meta["metric"],
        label_names=tuple(meta["label_names"]),
        pad_id=meta["pad_id"],
        splits=splits,
        folder=folder,
        meta=meta,
    )


def separate(spec: TaskSpec, rows: dict[str, AnyRows], seed: int) -> tuple[dict[str, AnyRows], int]:
    """(splits with a dev split and without train examples that stand in dev or test, how many were dropped)."""
    rows = dict(rows)
    if "dev" not in rows:
        train = rows["train"]
        order = stratified_order(train.strata(), generator(seed, "carve"))
        count = max(1, round(DEV_SHARE * len(train)))
        rows["dev"], rows["train"] = train.take(np.sort(order[:count])), train.take(np.sort(order[count:]))
    held_out = {key for split, data in rows.items() if split != "train" for key in data.examples()}
    kept = [i for i, key in enumerate(rows["train"].examples()) if key not in held_out]
    dropped = len(rows["train"]) - len(kept)
    if not kept:
        raise SpecError([f"task {spec.name!r}: every text of train also stands in dev or test of {spec.source!r}"])
    rows["train"] = rows["train"].take(kept)
    return {split: rows[split] for split in SPLITS if split in rows}, dropped


def check_variety(spec: TaskSpec, rows: dict[str, AnyRows]) -> None:
    """Refuse a split on which no score means anything: one class, or one target."""
    problems = []
    for split, data in rows.items():
        if len(np.unique(data.labels)) < 2:
            what = "target" if spec.kind == "regression" else "class"
            problems.append(f"task {spec.name!r}: {split} of {spec.source!r} has one {what} only, in {len(data)} rows")
    if problems:
        raise SpecError(problems)


def stratified_order(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of which every beginning has the strata in their proportions, as nearly as whole numbers allow."""
    shuffled = rng.permutation(len(strata))
    positions = np.empty(len(strata))
    for stratum in np.unique(strata):
        members = strata[shuffled] == stratum
        positions[members] = (np.arange(members.sum()) + 0.5) / members.sum()
    return shuffled[np.argsort(positions, kind="stable")]


def generator(seed: int, purpose: str) -> np.random.Generator:
    """One stream per seed and purpose."""
    return np.random.default_rng([seed, *purpose.encode()])


def encode_views(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """view -> (ids, offsets), truncated to max_length tokens."""
    inputs: dict[str, tuple[Sequence[str], Sequence[str] | None]] = {"text": (rows.texts, None)}
    if rows.texts2 is not None:
        inputs["text2"] = (rows.texts2, None)
        inputs["pair"] = (rows.texts, rows.texts2)
    views = {}
    for view, (texts, partners) in inputs.items():
        encoded: list[list[int]] = []
        for start in range(0, len(texts), TOKENIZER_BATCH):
            part = slice(start, start + TOKENIZER_BATCH)
            second = None if partners is None else list(partners[part])
            batch = tokenizer(list(texts[part]), second, truncation="longest_first", max_length=max_length)
            encoded += batch["input_ids"]
        views[view] = flat(encoded)
    return views


def rows_digest(rows: dict[str, AnyRows]) -> str:
    """Digest of all texts and labels."""
    return digest(*(json.dumps([split, rows[split].examples(), rows[split].labels.tolist()]) for split in sorted(rows)))
