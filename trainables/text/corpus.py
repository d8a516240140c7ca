"""Blocks of token ids: tokenised and packed once, memory-mapped, in an order that is a function of a seed."""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.records.data import CorpusFacts
from trainables.cache import cache_folder, digest, new_folder
from trainables.text.language_mix import languages_of, mixed_blocks
from trainables.text.packing import pack, tokenised, tokenizer_digest, unknown_share
from trainables.text.sources import CorpusSpec, Say, read_texts, source_files

HELD_OUT_BLOCKS = 512


@dataclass(frozen=True, eq=False)
class Corpus:
    """Prepared blocks (num_blocks, sequence_length), memory-mapped and read-only, and how to mask them."""

    train: np.ndarray
    held_out: np.ndarray
    vocab_size: int
    mask_token_id: int | None
    special_ids: tuple[int, ...]
    digest: str
    facts: CorpusFacts = field(default_factory=CorpusFacts)
    """without the names of its files"""

    @property
    def train_tokens(self) -> int:
        """Tokens of one epoch."""
        return int(self.train.size)


def prepare_corpus(spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase, progress: Say = lambda line: None) -> Path:
    """Tokenise and pack a corpus once; the folder is keyed by content, tokenizer and cut.

    Raises SpecError for a source that cannot be found, has no text, or is shorter than one block.
    """
    options: list[object] = [spec.sequence_length, spec.max_tokens]
    if spec.language_temperature is not None:
        files = {
            language: [path.name for paths in parts.values() for path in paths]
            for language, parts in languages_of(spec).items()
        }
        options += [spec.language_temperature, sorted(files.items())]
    content = sorted(source_files(spec, progress).items())
    key = digest(6, content, spec.text_column, tokenizer_digest(tokenizer), *options)
    folder = cache_folder() / "corpora" / key
    if (folder / "meta.json").is_file():
        return folder
    blocks, facts = cut(spec, tokenizer, progress)
    with new_folder(folder) as unfinished:
        for name, each in blocks.items():
            np.save(unfinished / f"{name}.npy", each)
        counts = {name: len(each) for name, each in blocks.items()}
        meta = {
            "source": spec.source, "sequence_length": spec.sequence_length, "blocks": counts,
            "vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id,
            "special_ids": sorted(tokenizer.all_special_ids), "facts": asdict(facts),
        }  # fmt: skip
        (unfinished / "meta.json").write_text(json.dumps(meta, indent=1))
    return folder


def cut(
    spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase, progress: Say
) -> tuple[dict[str, np.ndarray], CorpusFacts]:
    """The blocks of `train` and `held_out`, at least one of each, and what they are made of."""
    held_out_tokens = HELD_OUT_BLOCKS * spec.sequence_length
    if spec.language_temperature is not None:
        blocks, facts = mixed_blocks(spec, tokenizer, held_out_tokens, progress)
    else:
        texts = dict(zip(("train", "held_out"), read_texts(spec, progress), strict=True))
        limits = {"train": spec.max_tokens, "held_out": held_out_tokens}
        blocks = {
            name: pack(tokenised(each, tokenizer, limits[name], progress), tokenizer, spec.sequence_length)
            for name, each in texts.items()
        }
        facts = CorpusFacts(
            texts=len(texts["train"]),
            held_out_texts=len(texts["held_out"]),
            sampled=spec.max_tokens is not None and blocks["train"].size + spec.sequence_length >= spec.max_tokens,
            unknown={"": unknown_share([blocks["train"]], tokenizer)},
        )
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


def open_corpus(folder: Path) -> Corpus:
    """Map a prepared corpus into memory; nothing is read yet, and every process of a node shares one copy."""
    meta = json.loads((folder / "meta.json").read_text())
    return Corpus(
        train=np.load(folder / "train.npy", mmap_mode="r"),
        held_out=np.load(folder / "held_out.npy", mmap_mode="r"),
        vocab_size=meta["vocab_size"],
        mask_token_id=meta["mask_token_id"],
        special_ids=tuple(meta["special_ids"]),
        digest=folder.name,
        facts=CorpusFacts(**meta["facts"]),
    )


def batch_indices(num_blocks: int, batch_size: int, step: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(blocks, epochs): which blocks make the batch of a step (counted from 0), and in which epoch each is met.

    Epochs are permutations drawn from (seed, epoch). A pure function: a resumed trial goes on with the batch it would
    have seen.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    blocks, epochs = np.empty(batch_size, dtype=np.int64), positions // num_blocks
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        blocks[chosen] = epoch_order(seed, int(epoch), num_blocks)[positions[chosen] % num_blocks]
    return blocks, epochs


def blocks_visited(num_blocks: int, train_blocks: int, seed: int) -> np.ndarray:
    """The blocks, ascending, that a trial meets within `train_blocks` blocks of training."""
    if train_blocks >= num_blocks:
        return np.arange(num_blocks)
    return np.sort(epoch_order(seed, 0, num_blocks)[:train_blocks])


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, num_blocks: int) -> np.ndarray:
    """The permutation of an epoch; kept, for every step of the epoch asks for it again."""
    return np.random.default_rng([seed, epoch]).permutation(num_blocks)
