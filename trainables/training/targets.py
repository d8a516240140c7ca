"""The target cache: what the teacher says about each block, written once for all trials of a study.

Kept are the states that the signals of the study's methods are restored from (trainables/models/signals.py): hidden
states of some layers, at all tokens or at masked positions; never logits or relations. A shard is one safetensors file,
written whole or not at all, that carries the key of its cache and a checksum; readers map it into memory, so that all
trials of a node share one copy.
Shapes: n blocks of a shard, B blocks of a batch, T tokens, R kept rows of a block, P masked positions of a block at
most, D width.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from trainables.cache import cache_folder, digest
from trainables.copies import file_at_hand
from trainables.models.signals import TOKENS, State, States
from trainables.text.masking import masked_per_block
from trainables.training.readings import Reading

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}
SHARD_BYTES = 2**26
FORMAT = 2


@dataclass(frozen=True)
class Needs:
    """What the methods of a study can ask of the teacher: states over plain and over masked inputs."""

    plain: tuple[State, ...] = ()
    masked: tuple[State, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether the teacher is asked for anything at all."""
        return bool(self.plain or self.masked)


def needs_of(wants: Iterable[tuple[Iterable[State], bool]]) -> Needs:
    """The union over (states of the teacher, whether the inputs are masked)."""
    found: dict[bool, set[State]] = {False: set(), True: set()}
    for states, masked in wants:
        found[masked] |= set(states)
    plain, masked_ = (tuple(sorted(found[masked], key=lambda state: state.key)) for masked in (False, True))
    return Needs(plain, masked_)


@dataclass(frozen=True)
class Part:
    """The blocks of one split as they are, or under one view of their masks."""

    split: str
    view: int | None = None

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.split}-plain" if self.view is None else f"{self.split}-masked-{self.view}"


@dataclass(frozen=True)
class TargetPlan:
    """Everything that decides what a target cache holds; plain values, for it travels to the processes that fill it."""

    teacher: str
    teacher_digest: str
    corpus: str
    """The prepared corpus folder, whose name is the digest of text, tokenizer and cut."""
    needs: Needs
    blocks: tuple[int, ...]
    """The train blocks that are kept, ascending."""
    held_out: int
    views: int
    """Masks per train block."""
    mask_fraction: float
    width: int
    sequence_length: int
    bf16: bool
    """Whether the teacher runs under bf16 autocast."""
    dtype: str = "float16"

    @cached_property
    def key(self) -> str:
        """Names the content."""
        facts = {k: v for k, v in self.facts().items() if k not in ("teacher", "corpus", "blocks")}
        return digest(FORMAT, json.dumps(facts, sort_keys=True), Path(self.corpus).name, json.dumps(self.blocks))

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values, but for the blocks, of which there are many: their count."""
        kept = {"plain": self.needs.plain, "masked": self.needs.masked}
        needs = {name: {state.key: self.kept_rows(state) for state in states} for name, states in kept.items()}
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return own | {"needs": needs, "blocks": len(self.blocks)}

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return cache_folder() / "targets" / self.key

    @property
    def masked_per_block(self) -> int:
        """P."""
        return masked_per_block(self.sequence_length, self.mask_fraction)

    def states(self, part: Part) -> tuple[State, ...]:
        """What is kept of a part."""
        return self.needs.plain if part.view is None else self.needs.masked

    def kept_rows(self, state: State) -> int:
        """R."""
        return state.positions.rows(self.sequence_length, self.masked_per_block)

    def parts(self) -> dict[Part, int]:
        """Bytes per block of each part."""
        views = [None] * bool(self.needs.plain) + [*range(self.views)] * bool(self.needs.masked)
        parts = [Part("train", view) for view in views] + [Part("held_out", view) for view in views if not view]
        unit = DTYPES[self.dtype].itemsize * self.width
        return {part: unit * sum(self.kept_rows(state) for state in self.states(part)) for part in parts}

    def rows(self, part: Part) -> int:
        """How many blocks a part has."""
        return len(self.blocks) if part.split == "train" else self.held_out

    def bytes(self) -> int:
        """Of all parts together."""
        return sum(self.rows(part) * size for part, size in self.parts().items())

    def shard_rows(self, part: Part) -> int:
        """Blocks of a full shard."""
        return max(1, SHARD_BYTES // self.parts()[part])

    def shards(self) -> list[tuple[Part, int]]:
        """(part, number) of every shard."""
        return [(part, n) for part in self.parts() for n in range(-(-self.rows(part) // self.shard_rows(part)))]


def shard_path(folder: Path, part: Part, number: int) -> Path:
    """The file of a shard."""
    return folder / part.name / f"{number:05d}.safetensors"


class Targets:
    """A whole target cache, mapped into memory."""

    def __init__(self, folder: Path):
        facts = json.loads(file_at_hand(folder / "plan.json").read_text())
        self.folder, self.blocks = folder, np.load(file_at_hand(folder / "blocks.npy"))
        self.kept: dict[str, Mapping[str, int]] = facts["needs"]
        self.views, self.mask_fraction, self.bf16 = facts["views"], facts["mask_fraction"], facts["bf16"]
        self.shard_rows: Mapping[str, int] = facts["shard_rows"]
        self.open: dict[Path, dict[str, Tensor]] = {}

    def serves(self, states: Iterable[State], masked: bool, blocks: np.ndarray, views: int, fraction: float) -> bool:
        """Whether a trial can read all of its targets here."""
        same_masks = not masked or (self.views >= views and self.mask_fraction == fraction)
        kept = self.kept["masked" if masked else "plain"]
        return all(state.key in kept for state in states) and same_masks and bool(np.isin(blocks, self.blocks).all())

    def read(
        self, split: str, states: Iterable[State], blocks: np.ndarray, views: np.ndarray | None, reading: Reading
    ) -> States:
        """The states of a batch in float32, in the order of its rows."""
        rows = np.searchsorted(self.blocks, blocks) if split == "train" else blocks
        parts = [Part(split, view) for view in ([None] * len(rows) if views is None else views.tolist())]
        shards = [self.shard(part, int(row)) for part, row in zip(parts, rows, strict=True)]
        found = {state: decoded_rows(shards, state.key) for state in states}
        longest = reading.inputs_BT.shape[1]  # single texts are kept as rows of the longest length
        found = {state: kept[:, :longest] if state.positions is TOKENS else kept for state, kept in found.items()}
        return {state: state.positions.unpack(tensor, reading.positions_BT) for state, tensor in found.items()}

    def shard(self, part: Part, row: int) -> tuple[dict[str, Tensor], int]:
        """The tensors of the shard that holds a row, and the row's place in it."""
        number, place = divmod(row, self.shard_rows[part.name])
        path = shard_path(self.folder, part, number)
        if path not in self.open:
            with safe_open(file_at_hand(path), framework="pt") as file:
                self.open[path] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return self.open[path], place


def decoded_rows(shards: Sequence[tuple[dict[str, Tensor], int]], name: str) -> Tensor:
    """A state of some blocks in float32, BRD, each of (tensors of its shard, its place there), decoded in its row."""
    batch_BRD = torch.empty(len(shards), *shards[0][0][name].shape[1:])
    for row_RD, (shard, place) in zip(batch_BRD, shards, strict=True):
        row_RD.copy_(shard[name][place])
        if (scale_1D := shard.get(f"{name}:scale")) is not None:
            row_RD *= scale_1D
    return batch_BRD


def decoded(values: Tensor, scale: Tensor | None) -> Tensor:
    """Values in float32."""
    return values.float() if scale is None else values.float() * scale
