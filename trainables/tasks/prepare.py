"""Labelled tasks, tokenised once per study and then memory-mapped by every trial.

A prepared task is a folder: `meta.json` and, per split, its labels and each of its views as two arrays,
`SPLIT.NAME.values.npy` (all numbers one after the other) and `SPLIT.NAME.offsets.npy` (where each row starts, and the
end), and `SPLIT.rows.npy`, a digest of each row as it was read. Views of texts: `text`; for pairs also `text2` (the
second text alone, for separately encoded pairs) and `pair` (both in one sequence, for cross-encoding; for models that
score pairs also of a query with each of its candidates, one for each label). For tagged words
`words` says where in its text each scored word starts. The folder is named by the digest of rows, tokenizer and
settings, and appears whole or not at all.

Leakage: an example of train whose exact text (for pairs: both texts) also stands in dev or test is dropped from train
before anything is sampled; `meta.json` counts them as `dropped_from_train`. Nothing is dropped from dev or test.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError, StillhouseError, nearest
from spaces.settings import problems_of
from spaces.telling import quiet
from trainables.cache import digest, new_folder
from trainables.copies import is_kept
from trainables.models.embedding import Embedder
from trainables.tasks.data import Rows, Split, TaskData
from trainables.tasks.documents import DOCUMENTS, with_fewer_documents
from trainables.tasks.kinds import KINDS
from trainables.tasks.metrics import Metric
from trainables.tasks.prompts import prompt_lines, prompted, prompts_by_part
from trainables.tasks.reading.encoding import with_candidates
from trainables.tasks.sampling import generator, stratified_order
from trainables.tasks.spec import TaskSpec, task_problems
from trainables.text.packing import tokenizer_digest
from trainables.text.ragged import Ragged

FORMAT = 6
INDEX = "documents.embedded.npy"
TEACHERS = "teachers"
"""Key of meta.json: the folder beside it in which the task stands in the teacher's tokens, where these are others."""
SPLITS = ("train", "dev", "test")
DEV_SHARE = 0.1
EXAMPLES = 5
"""Classes that a line names."""
MAX_DEV_FROM_TRAIN = 2000
"""Rows that become dev where nothing is fitted, so that train has no other use."""
UNREAD = ("source", "language", "languages", "weight")
"""Settings of a task that change nothing in its folder, but what its rows say."""


def prepare_task(
    spec: TaskSpec,
    tokenizer: PreTrainedTokenizerBase,
    cache: Path,
    *,
    embedder: Embedder | None = None,
    seed: int = 0,
    say: Callable[[str], None] = quiet,
    teachers: Path | None = None,
) -> Path:
    """Read, check, cut and tokenise a task into its folder under `cache`; the same content is prepared only once.

    Without a dev split a stratified tenth of train becomes dev, or MAX_DEV_FROM_TRAIN rows where nothing is fitted.
    `max_train`, `max_dev` and `max_test` take stratified samples (numbers: over ten equal groups of the sorted
    targets); `max_docs` keeps the documents that answer queries. Texts that are embedded stand after the prompts of
    `embedder` and are cut to its length. `say` is told what of the source is not used.
    teachers: the folder of the same task in the teacher's tokens, where students have a tokenizer of their own.
    """
    metric, rows, label_names = read_task(spec, say)
    digests = row_digests(rows)
    told = [part for split, each in digests.items() for part in (split, each.tobytes())]
    settings = asdict(spec) | {"metric": metric.name, "seed": seed, "format": FORMAT}
    rows, settings["max_length"], lines = as_embedded(spec, rows, embedder)
    if embedder is not None and embedder.pairs and KINDS[spec.kind].of_pairs:
        settings["pairs"] = True
    if teachers is not None:
        settings[TEACHERS] = teachers.name
    for line in lines:
        say(line)
    identity = {key: value for key, value in settings.items() if key not in UNREAD}
    key = digest(json.dumps(identity, sort_keys=True), tokenizer_digest(tokenizer), *told, *label_names)
    folder = Path(cache) / "tasks" / f"{spec.name}-{key}"
    if not is_kept(folder):
        write_task(spec, settings, rows, label_names, tokenizer, folder, digests)
    return folder


def as_embedded(
    spec: TaskSpec, rows: dict[str, Rows], embedder: Embedder | None
) -> tuple[dict[str, Rows], int, list[str]]:
    """(rows after their prompts, max_length, what is told of it); of tasks that are never embedded as they are."""
    if embedder is None or "zero_shot" not in KINDS[spec.kind].protocols:
        return rows, spec.max_length, []
    prompts = prompts_by_part(rows, embedder)
    return prompted(rows, prompts), min(spec.max_length, embedder.max_length), prompt_lines(spec.name, prompts)


def read_task(spec: TaskSpec, say: Callable[[str], None] = quiet) -> tuple[Metric, dict[str, Rows], tuple[str, ...]]:
    """(metric, checked rows by split, class names), as the source has them. Raises SpecError with every problem."""
    where = f"task {spec.name!r}:"
    if problems := [*problems_of(where, spec), *(f"{where} {problem}" for problem in task_problems(spec))]:
        raise SpecError(problems)
    kind = KINDS[spec.kind]
    metric = kind.metric(spec.metric)
    try:
        rows, label_names = kind.read(replace(spec.rows(), say=say))
    except SpecError:
        raise
    except StillhouseError as error:  # of a store
        raise SpecError([f"{where} {spec.source!r}: {error}"]) from error
    if problem := metric.misfit(label_names):
        raise SpecError([f"task {spec.name!r}: {metric.name} {problem} in {spec.source!r}"])
    return metric, *with_positive_second(spec, rows, label_names)


def with_positive_second(
    spec: TaskSpec, rows: dict[str, Rows], names: tuple[str, ...]
) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """Two classes in such an order that f1 is of the wanted one. Raises SpecError where that is none of two."""
    if spec.positive_class is None or (len(names) == 2 and names[1] == spec.positive_class):
        return rows, names
    if len(names) != 2 or names[0] != spec.positive_class:
        hint = nearest(spec.positive_class, names) if len(names) == 2 else ""
        has = f"{', '.join(names[:EXAMPLES])}{', ...' * (len(names) > EXAMPLES)}" or "no classes"
        problem = f"positive_class {spec.positive_class!r} must be one of two classes.{hint} The task has {has}"
        raise SpecError([f"task {spec.name!r}: {problem}"])
    labels = {split: replace(each.labels, values=1 - each.labels.values) for split, each in rows.items()}
    return {split: replace(each, labels=labels[split]) for split, each in rows.items()}, names[::-1]


def write_task(
    spec: TaskSpec,
    settings: dict[str, Any],
    rows: Mapping[str, Rows],
    label_names: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    digests: Mapping[str, np.ndarray],
) -> None:
    """Cut and tokenise checked rows into a folder that is not there yet; `digests` are those of its rows."""
    rows, cut = cut_rows(spec, rows, settings["seed"])
    prepared = {split: KINDS[spec.kind].encode(data, tokenizer, settings["max_length"]) for split, data in rows.items()}
    if "pairs" in settings and DOCUMENTS in rows:
        prepared = with_candidates(prepared, rows, tokenizer, settings["max_length"])
    with new_folder(folder) as unfinished:
        for split, each in digests.items():
            np.save(unfinished / f"{split}.rows.npy", each)
        for split, data in prepared.items():
            for name, array in {"labels": data.labels, **data.views}.items():
                np.save(unfinished / f"{split}.{name}.values.npy", array.values)
                np.save(unfinished / f"{split}.{name}.offsets.npy", array.offsets)
        meta = (
            settings
            | cut
            | {
                "label_names": list(label_names),
                "pad_id": tokenizer.pad_token_id or 0,
                "views": {split: list(data.views) for split, data in prepared.items()},
                "labels_dropped": labels_dropped(rows, prepared),
            }
        )
        (unfinished / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def cut_rows(spec: TaskSpec, rows: Mapping[str, Rows], seed: int) -> tuple[dict[str, Rows], dict[str, Any]]:
    """(rows as they are used, what was left out). Raises SpecError for a split on which no score means anything."""
    kind = KINDS[spec.kind]
    carved = "train" in rows and "dev" not in rows
    rows, dropped = separate(spec, rows, seed)
    for split, count in (("train", spec.max_train), ("dev", spec.max_dev), ("test", spec.max_test)):
        if split in rows and count is not None and count < len(rows[split]):
            strata = kind.strata(rows[split].labels)
            rows[split] = rows[split].take(np.sort(stratified_order(strata, generator(seed, split))[:count]))
    num_documents = len(rows.get(DOCUMENTS, ()))
    if num_documents and spec.max_docs is not None:
        rows = with_fewer_documents(spec.name, rows, spec.max_docs, generator(seed, DOCUMENTS))
    check_variety(spec, rows, dropped)
    return rows, {
        "sizes": {split: len(data) for split, data in rows.items()},
        "dropped_from_train": dropped,
        "dev_from_train": carved,
        "num_documents": num_documents,
    }


def labels_dropped(rows: Mapping[str, Rows], prepared: Mapping[str, Split]) -> dict[str, int]:
    """By split, labels that encoding left out."""
    return {split: len(rows[split].labels.values) - len(data.labels.values) for split, data in prepared.items()}


def load_task(path: str | Path) -> TaskData:
    """A prepared task, memory-mapped."""
    folder = Path(path)
    file = folder / "meta.json"
    if not file.is_file():
        raise SpecError([f"{folder} is not a prepared task: it has no meta.json"])
    meta = json.loads(file.read_text(encoding="utf-8"))
    if meta["format"] != FORMAT:
        raise SpecError([f"{folder} is a prepared task of format {meta['format']}; this version reads {FORMAT}"])

    def mapped(name: str) -> Ragged:
        values, offsets = (np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("values", "offsets"))
        return Ragged(values, offsets)

    return TaskData(
        name=meta["name"],
        kind=meta["kind"],
        metric=KINDS[meta["kind"]].metric(meta["metric"]),
        label_names=tuple(meta["label_names"]),
        pad_id=meta["pad_id"],
        splits={
            split: Split({view: mapped(f"{split}.{view}") for view in views}, mapped(f"{split}.labels"))
            for split, views in meta["views"].items()
        },
        index_NE=np.load(folder / INDEX, mmap_mode="r") if (folder / INDEX).is_file() else None,
        meta=meta,
    )


def as_teacher_reads(folder: Path) -> Path:
    """The folder of a prepared task in the teacher's tokens: the same one, unless students have a tokenizer of their
    own."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return folder.with_name(meta.get(TEACHERS, folder.name))


def separate(spec: TaskSpec, rows: Mapping[str, Rows], seed: int) -> tuple[dict[str, Rows], int]:
    """(parts with a dev split and without train examples that stand in dev or test, how many were dropped)."""
    rows = dict(rows)
    kind = KINDS[spec.kind]
    if "train" not in rows:
        if "dev" not in rows:
            raise SpecError(
                [
                    f"task {spec.name!r}: {spec.source!r} has neither a dev split nor train to take one from; students "
                    "are chosen by dev, so that test may tell how good the choice was"
                ]
            )
        return rows, 0
    if "dev" not in rows:
        train = rows["train"]
        order = stratified_order(kind.strata(train.labels), generator(seed, "carve"))
        count = max(1, round(DEV_SHARE * len(train))) if kind.fits else min(len(train), MAX_DEV_FROM_TRAIN)
        rows["dev"], rows["train"] = train.take(np.sort(order[:count])), train.take(np.sort(order[count:]))
    if not kind.fits:
        del rows["train"]
        return rows, 0
    held_out = {key for split in ("dev", "test") if split in rows for key in rows[split].examples()}
    kept = [i for i, key in enumerate(rows["train"].examples()) if key not in held_out]
    dropped = len(rows["train"]) - len(kept)
    if not kept:
        raise SpecError([f"task {spec.name!r}: every text of train also stands in dev or test of {spec.source!r}"])
    rows["train"] = rows["train"].take(np.array(kept))
    return rows, dropped


def check_variety(spec: TaskSpec, rows: Mapping[str, Rows], dropped: int) -> None:
    """Refuse a split on which no score means anything: one class, or one target. A single document may be searched."""
    problems = []
    for split in SPLITS:
        if split in rows and DOCUMENTS not in rows and len(np.unique(rows[split].labels.values)) < 2:
            where, left = f"task {spec.name!r}: {split} of {spec.source!r}", f"in {len(rows[split]):,} rows"
            without = f", without {dropped:,} that also stand in dev or test" if dropped and split == "train" else ""
            problems.append(f"{where} has one class or target only, {left}{without}")
    if problems:
        raise SpecError(problems)


def row_digests(rows: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    """By split, 64 bits over the inputs and labels of each row, as it was read."""
    found = {}
    for split, each in sorted(rows.items()):
        values, starts = each.labels.values.tolist(), each.labels.offsets.tolist()
        texts = (
            json.dumps([example, values[starts[i] : starts[i + 1]]]).encode()
            for i, example in enumerate(each.examples())
        )
        raw = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
        found[split] = np.frombuffer(raw, dtype=">u8")
    return found


def rows_of_task(folder: str | Path) -> dict[str, np.ndarray]:
    """`row_digests` of a prepared task."""
    return {path.name.removesuffix(".rows.npy"): np.load(path) for path in sorted(Path(folder).glob("*.rows.npy"))}
