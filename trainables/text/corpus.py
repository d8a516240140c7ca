"""Rows of token ids: tokenised and cut once, memory-mapped, in an order that is a function of a seed.

A row is a block of packed texts without padding, or a single text, padded; how long single texts are is kept as well.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.records.data import CorpusFacts
from spaces.telling import Say
from trainables.cache import cache_folder, digest, new_folder
from trainables.copies import is_kept
from trainables.text.held_out import CHARACTERS_PER_TOKEN
from trainables.text.labelled import read_labelled
from trainables.text.language_mix import languages_of, mixed_blocks
from trainables.text.packing import frame, pack, tokenised, tokenizer_digest, unknown_share
from trainables.text.pairs import read_pairs
from trainables.text.shards import Cutters, alone, in_turn, shards_of, share_of, write_blocks
from trainables.text.single import same_texts, sentences_of, single_rows
from trainables.text.sources import (
    CorpusSpec,
    TextSource,
    held_out_characters,
    listed,
    open_texts,
    queries_of,
    read_texts,
    source_files,
    supplement_of,
    told_as,
)
from trainables.text.stream import Stream

HELD_OUT_BLOCKS = 512
TEACHER = "teacher"
"""The folder in that of a corpus with its rows in the teacher's tokens."""
SUPPLEMENT = "supplement"
"""The folder there with another corpus, which stages of a method read."""
WINDOW = 4096
"""Single texts that are sorted by length together, so that a batch has little padding."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Prepared rows (number, sequence_length), memory-mapped and read-only, and how to mask them."""

    train: np.ndarray
    held_out: np.ndarray
    vocab_size: int
    mask_token_id: int | None
    special_ids: tuple[int, ...]
    digest: str
    facts: CorpusFacts = field(default_factory=CorpusFacts)
    """without the names of its files"""
    lengths: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Of single texts, by split; packed blocks have none, for no position of theirs is padding."""
    classes: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Of labelled texts, by split: the place of each one's class in the classes of `facts`."""
    teachers: "Corpus | None" = None
    """The same texts in the teacher's tokens, row by row, where students have a tokenizer of their own."""
    supplement: "Corpus | None" = None
    """Other texts, which stages of a method read."""

    @property
    def of_teacher(self) -> "Corpus":
        """As the teacher reads it."""
        return self.teachers or self

    @cached_property
    def train_tokens(self) -> int:
        """Tokens of one epoch."""
        return int(self.lengths["train"].sum()) if self.lengths else int(self.train.size)

    @property
    def tokens_per_row(self) -> float:
        """On average; what a budget in tokens is counted by."""
        return self.train_tokens / len(self.train)

    def row_lengths(self, split: str, rows: np.ndarray) -> np.ndarray:
        """How many tokens some rows have."""
        if self.lengths:
            return self.lengths[split][rows]
        return np.full(len(rows), self.train.shape[1])

    def read(self, split: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(ids BT, mask BT) of some rows, no longer than the longest of them; no mask where nothing is padded."""
        ids_BT = getattr(self, split)[rows].astype(np.int64)
        if not self.lengths:
            return ids_BT, None
        lengths_B = self.lengths[split][rows]
        longest = int(lengths_B.max())
        return ids_BT[:, :longest], (np.arange(longest) < lengths_B[:, None]).astype(np.int64)


def prepare_corpus(
    spec: CorpusSpec,
    tokenizer: PreTrainedTokenizerBase,
    progress: Say = lambda line: None,
    prompt: str = "",
    query_prompt: str = "",
    teachers: PreTrainedTokenizerBase | None = None,
    cutters: Callable[[TextSource], Cutters] = alone,
) -> Path:
    """Tokenise and cut a corpus once; the folder is keyed by content, tokenizer and cut.

    teachers: the tokenizer of the teacher, where students have another; single texts are kept in its tokens too.
    prompt: stands before each single text, as it does where texts are embedded; query_prompt: before each query.
    cutters: who cuts packed texts of a source; the rows are the same whoever does.

    Raises SpecError for a source that cannot be found, has no text, is shorter than one block, or changes meanwhile.
    """
    options: list[object] = [spec.sequence_length, spec.max_tokens]
    if spec.language_temperature is not None:
        files = {
            language: [file.name for files in parts.values() for file in files]
            for language, parts in languages_of(spec).items()
        }
        options += [spec.language_temperature, sorted(files.items())]
    if spec.texts != "packed":
        options += [spec.texts, prompt] + [query_prompt] * (spec.queries is not None)
    if spec.texts == "pairs":
        options.append(spec.query_column)
    if spec.label_column is not None:
        options.append({"label_column": spec.label_column})
    if teachers is not None:
        options.append(tokenizer_digest(teachers))
    if spec.near_duplicates is not None:
        options.append({"near_duplicates": spec.near_duplicates})
    content = sorted(source_files(spec, progress).items())
    key = digest(7, content, spec.text_column, tokenizer_digest(tokenizer), *options)
    folder = cache_folder() / "corpora" / key
    if is_kept(folder):
        return folder
    other = None
    if (supplement := supplement_of(spec)) is not None:
        with told_as(SUPPLEMENT):
            other = prepare_corpus(supplement, tokenizer, progress, prompt, "", teachers, cutters)
    with shards_of(key) as shards:
        if folder.is_dir():  # another process has just written it
            return folder
        with new_folder(folder) as unfinished:
            if spec.texts == "packed":
                blocks, facts = cut(spec, tokenizer, progress, shards, unfinished / "train.npy", cutters)
            else:
                blocks, facts, theirs = apart(spec, tokenizer, progress, (prompt, query_prompt), teachers)
                if teachers is not None:
                    (unfinished / TEACHER).mkdir()
                    write_rows(unfinished / TEACHER, theirs, facts, spec, teachers)
            if sorted(source_files(spec, progress).items()) != content:
                raise SpecError([f"[corpus] source {spec.source!r}: it has changed while it was read; begin anew"])
            write_rows(unfinished, blocks, facts, spec, tokenizer)
            if other is not None:
                shutil.copytree(other, unfinished / SUPPLEMENT)
    return folder


def write_rows(
    folder: Path, blocks: Mapping[str, np.ndarray], facts: CorpusFacts, spec: CorpusSpec,
    tokenizer: PreTrainedTokenizerBase,
) -> None:  # fmt: skip
    """The files of a prepared corpus."""
    for name, each in blocks.items():
        if not isinstance(each, np.memmap):  # which lies there already
            np.save(folder / f"{name}.npy", each)
    meta = {
        "source": spec.source, "sequence_length": spec.sequence_length,
        "blocks": {name: len(blocks[name]) for name in ("train", "held_out")},
        "vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id,
        "special_ids": sorted(tokenizer.all_special_ids), "facts": asdict(facts),
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def cut(
    spec: CorpusSpec,
    tokenizer: PreTrainedTokenizerBase,
    progress: Say,
    shards: Path,
    target: Path,
    cutters: Callable[[TextSource], Cutters] = alone,
) -> tuple[dict[str, np.ndarray], CorpusFacts]:
    """The blocks of `train` and `held_out`, at least one of each, and what they are made of.

    Those of `train` are mapped from the file `target`, but for a mix of languages; `shards` is a folder.
    """
    limit = HELD_OUT_BLOCKS * spec.sequence_length
    if spec.language_temperature is not None:
        blocks, facts = mixed_blocks(spec, tokenizer, limit, progress)
    else:
        blocks, facts = stream_blocks(spec, tokenizer, progress, limit, shards, target, cutters)
    counts = {"train": facts.texts, "held_out": facts.held_out_texts}
    for name, each in blocks.items():
        if not len(each):
            raise SpecError(
                [
                    f"[corpus] source {spec.source!r}: the {name} part is shorter than one block of "
                    f"{spec.sequence_length} tokens ({counts[name]} texts); give more text or cut sequence_length"
                ]
            )
    return blocks, replace(facts, tokens=blocks["train"].size, held_out_tokens=blocks["held_out"].size)


def stream_blocks(
    spec: CorpusSpec,
    tokenizer: PreTrainedTokenizerBase,
    progress: Say,
    limit: int,
    shards: Path,
    target: Path,
    cutters: Callable[[TextSource], Cutters],
) -> tuple[dict[str, np.ndarray], CorpusFacts]:
    """`cut` of text of any size: all of it, or a sample of `max_tokens`; and of `limit` held-out tokens."""
    length = spec.sequence_length
    first, _ = frame(tokenizer)
    source = open_texts(spec, progress)
    by = cutters(source)
    found = by.survey(source)
    rule = None if source.held_out else found.census.held_out(held_out_characters(spec))
    kept = rule and rule.up_to(CHARACTERS_PER_TOKEN * limit)
    stream = Stream(rule, kept, share_of(found, tokenizer, spec.max_tokens))
    paths = by.write_shards(stream, source, shards, tokenizer, stream.share * found.census.characters, progress)
    most = None if spec.max_tokens is None else math.ceil(spec.max_tokens / (length - len(first) - 1))
    train = write_blocks(paths, target, tokenizer, length, most)
    texts = sorted(stream.held_out) if source.held_out is None else list(source.held_out())
    held_out = pack(tokenised(texts, tokenizer, limit, progress), tokenizer, length)
    return {"train": train, "held_out": held_out}, CorpusFacts(
        texts=stream.texts,
        held_out_texts=len(texts),
        left_out_texts=max(0, found.census.texts - stream.texts - len(texts)) if rule else 0,
        near_duplicates=source.near_duplicates,
        sampled=stream.share < 1,
        unknown={"": unknown_share(in_turn(target, WINDOW), tokenizer)},
    )


def apart(
    spec: CorpusSpec,
    tokenizer: PreTrainedTokenizerBase,
    progress: Say,
    prompts: tuple[str, str],
    teachers: PreTrainedTokenizerBase | None = None,
) -> tuple[dict[str, np.ndarray], CorpusFacts, dict[str, np.ndarray]]:
    """Single texts or pairs of `train` and `held_out`, at least one of each, their lengths, what they are made of, and
    the same texts and lengths in the tokens of the teacher where these are others.

    prompts: before texts of the source, and before queries.
    """
    found: dict[str, np.ndarray] = {}
    theirs: dict[str, np.ndarray] = {}
    source = None if spec.texts == "pairs" or spec.label_column is not None else open_texts(spec, progress)
    classes: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    if source is not None:
        parts: Sequence[Any] = prompted(spec, source, progress, *prompts)
    elif spec.texts == "pairs":
        parts = read_pairs(spec, progress)
    else:
        labelled, names = read_labelled(spec, progress)
        parts = [[prompts[0] + text for text in each.texts] for each in labelled]
        classes = [each.classes_N for each in labelled]
    for part, (name, texts) in enumerate(zip(("train", "held_out"), parts, strict=True)):
        chosen = np.arange(len(texts))
        if name == "held_out":
            chosen = np.sort(np.random.default_rng(0).permutation(len(texts))[:HELD_OUT_BLOCKS])
            texts = [texts[i] for i in chosen]
        limit = spec.max_tokens if name == "train" else None
        say = progress if name == "train" else (lambda line: None)
        found[name], found[f"{name}_lengths"], kept = single_rows(texts, tokenizer, spec.sequence_length, limit, say)
        if classes:
            found[f"{name}_classes"] = classes[part][chosen][kept]
        if teachers is not None:
            same = [texts[place] for place in kept]
            theirs[name], theirs[f"{name}_lengths"] = same_texts(same, teachers, spec.sequence_length)
        if not len(found[name]):
            raise SpecError([f"[corpus] source {spec.source!r}: the {name} part has no text of five tokens or more"])
    lengths = {name: found[f"{name}_lengths"] for name in ("train", "held_out")}
    train = (row[:length] for row, length in zip(found["train"], lengths["train"], strict=True))
    facts = CorpusFacts(
        texts=len(found["train"]),
        held_out_texts=len(found["held_out"]),
        tokens=int(lengths["train"].sum()),
        held_out_tokens=int(lengths["held_out"].sum()),
        row_tokens=float(lengths["train"].mean()),
        near_duplicates=0 if source is None else source.near_duplicates,
        classes=names,
        sampled=spec.max_tokens is not None and int(lengths["train"].sum()) >= spec.max_tokens,
        unknown={"": unknown_share(train, tokenizer)},
    )
    return found, facts, theirs


def prompted(spec: CorpusSpec, source: TextSource, progress: Say, prompt: str, query_prompt: str) -> list[list[str]]:
    """The texts of `train` and of `held_out`, cut into sentences where asked for, each after its prompt; then queries.

    How many queries there are is said.
    """
    found = []
    for texts in listed(spec, source):
        cut = [sentence for text in texts for sentence in sentences_of(text)] if spec.texts == "sentences" else texts
        found.append([prompt + text for text in cut])
    if (queries := queries_of(spec)) is not None:
        with told_as("queries"):
            asked = read_texts(queries, progress)
        progress(
            f"corpus: {len(found[0]):,} texts after {prompt!r} and {len(asked[0]):,} queries after {query_prompt!r}"
        )
        for texts, more in zip(found, asked, strict=True):
            texts += [query_prompt + text for text in more]
    return found


def open_corpus(folder: Path) -> Corpus:
    """Map a prepared corpus into memory; nothing is read yet, and every process of a node shares one copy."""
    teachers, supplement = (
        replace(open_corpus(folder / inner), digest=f"{folder.name}-{inner}") if (folder / inner).is_dir() else None
        for inner in (TEACHER, SUPPLEMENT)
    )
    meta = json.loads((folder / "meta.json").read_text())
    return Corpus(
        train=np.load(folder / "train.npy", mmap_mode="r"),
        held_out=np.load(folder / "held_out.npy", mmap_mode="r"),
        vocab_size=meta["vocab_size"],
        mask_token_id=meta["mask_token_id"],
        special_ids=tuple(meta["special_ids"]),
        digest=folder.name,
        facts=CorpusFacts(**{**meta["facts"], "classes": tuple(meta["facts"].get("classes", ()))}),
        lengths={
            name: np.load(folder / f"{name}_lengths.npy")
            for name in ("train", "held_out")
            if (folder / f"{name}_lengths.npy").is_file()
        },
        classes={
            name: np.load(folder / f"{name}_classes.npy")
            for name in ("train", "held_out")
            if (folder / f"{name}_classes.npy").is_file()
        },
        teachers=teachers,
        supplement=supplement,
    )


def batch_indices(corpus: Corpus, batch_size: int, step: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, epochs): which rows make the batch of a step (counted from 0), and in which epoch each is met.

    Epochs are permutations drawn from (seed, epoch); of single texts each window of them is sorted by length, and the
    batches of a window come in a random order. A pure function: a resumed trial goes on with the batch it would have
    seen.
    """
    num_blocks = len(corpus.train)
    if corpus.lengths:
        group, place = divmod(step, max(1, WINDOW // batch_size))
        step += int(batch_order(seed, group, max(1, WINDOW // batch_size))[place]) - place
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    blocks, epochs = np.empty(batch_size, dtype=np.int64), positions // num_blocks
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        blocks[chosen] = epoch_order(corpus, seed, int(epoch))[positions[chosen] % num_blocks]
    return blocks, epochs


def blocks_visited(corpus: Corpus, train_blocks: int, seed: int) -> np.ndarray:
    """The rows, ascending, that a trial meets within `train_blocks` rows of training; of single texts whole windows."""
    num_blocks = len(corpus.train)
    if corpus.lengths:
        train_blocks = (-(-train_blocks // WINDOW) + 1) * WINDOW
    if train_blocks >= num_blocks:
        return np.arange(num_blocks)
    return np.sort(epoch_order(corpus, seed, 0)[:train_blocks])


@lru_cache(maxsize=2)
def epoch_order(corpus: Corpus, seed: int, epoch: int) -> np.ndarray:
    """The permutation of an epoch; kept, for every step of the epoch asks for it again."""
    order = np.random.default_rng([seed, epoch]).permutation(len(corpus.train))
    if not corpus.lengths:
        return order
    windows = np.split(order, range(WINDOW, len(order), WINDOW))
    return np.concatenate([rows[np.argsort(corpus.lengths["train"][rows], kind="stable")] for rows in windows])


@lru_cache(maxsize=4)
def batch_order(seed: int, group: int, batches: int) -> np.ndarray:
    """The order of the batches of one window of single texts."""
    return np.random.default_rng([seed, group, 1]).permutation(batches)
