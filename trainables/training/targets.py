"""The target cache: what the teacher says about each block, written once for all trials of a study.

Kept are hidden states of the layers that the study can ask for, and of the last layer at masked positions; queries,
keys, values and logits are one linear map away and are computed again, relations are never kept. A shard is one
safetensors file, written whole or not at all, that carries the key of its cache and a checksum; readers map it into
memory, so that all trials of a node share one copy.
Shapes: n blocks of a shard, L kept layers, T tokens, P masked positions of a block, D width.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from trainables.cache import cache_folder, digest
from trainables.models.teacher import States, Wanted
from trainables.text.masking import masked_per_block
from trainables.training.readings import Reading

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}
SHARD_BYTES = 2**26
CHUNK_BLOCKS = 16
FORMAT = 1


@dataclass(frozen=True)
class Needs:
    """What the methods of a study can ask of the teacher.

    plain, masked: layers of whole hidden states over plain and over masked inputs; last: the last layer's states at
    the masked positions.
    """

    plain: tuple[int, ...] = ()
    masked: tuple[int, ...] = ()
    last: bool = False

    @property
    def anything(self) -> bool:
        """Whether the teacher is asked for anything at all."""
        return bool(self.plain or self.masked or self.last)


def needs_of(wants: Iterable[tuple[Wanted, bool]]) -> Needs:
    """The union over (wanted of the teacher, whether the inputs are masked)."""
    layers: dict[bool, set[int]] = {False: set(), True: set()}
    last = False
    for wanted, masked in wants:
        layers[masked] |= wanted.layers
        last |= wanted.logits
    return Needs(tuple(sorted(layers[False])), tuple(sorted(layers[True])), last)


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
        facts = {k: v for k, v in asdict(self).items() if k not in ("teacher", "corpus", "blocks")}
        return digest(FORMAT, json.dumps(facts, sort_keys=True), Path(self.corpus).name, np.asarray(self.blocks))

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return cache_folder() / "targets" / self.key

    @property
    def masked_per_block(self) -> int:
        """P."""
        return masked_per_block(self.sequence_length, self.mask_fraction)

    def layers(self, part: Part) -> tuple[int, ...]:
        """The layers of a part whose whole hidden states are kept."""
        return self.needs.plain if part.view is None else self.needs.masked

    def parts(self) -> dict[Part, int]:
        """Bytes per block of each part."""
        views = [None] * bool(self.needs.plain) + [*range(self.views)] * bool(self.needs.masked or self.needs.last)
        parts = [Part("train", view) for view in views] + [Part("held_out", view) for view in views if not view]
        last = self.masked_per_block if self.needs.last else 0
        unit = DTYPES[self.dtype].itemsize * self.width
        return {
            part: unit * (len(self.layers(part)) * self.sequence_length + (last if part.view is not None else 0))
            for part in parts
        }

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
        facts = json.loads((folder / "plan.json").read_text())
        needs = facts["needs"]
        facts["needs"] = Needs(tuple(needs["plain"]), tuple(needs["masked"]), needs["last"])
        facts["blocks"] = tuple(np.load(folder / "blocks.npy").tolist())
        self.plan = TargetPlan(**facts)
        self.folder, self.blocks = folder, np.asarray(self.plan.blocks)
        self.open: dict[Path, dict[str, Tensor]] = {}

    def serves(self, wanted: Wanted, masked: bool, blocks: np.ndarray, views: int, fraction: float) -> bool:
        """Whether a trial can read all of its targets here."""
        plan, needs = self.plan, self.plan.needs
        layers = needs.masked if masked else needs.plain
        same_masks = not masked or (plan.views >= views and plan.mask_fraction == fraction)
        return (
            wanted.layers <= set(layers)
            and (needs.last or not wanted.logits)
            and same_masks
            and bool(np.isin(blocks, self.blocks).all())
        )

    def read(
        self, split: str, wanted: Wanted, blocks: np.ndarray, views: np.ndarray | None, reading: Reading
    ) -> States:
        """The states of a batch in float32, in the order of its rows."""
        rows = np.searchsorted(self.blocks, blocks) if split == "train" else blocks
        parts = [Part(split, view) for view in ([None] * len(rows) if views is None else views.tolist())]
        shards = [self.shard(part, int(row)) for part, row in zip(parts, rows, strict=True)]
        kept = self.plan.layers(parts[0])
        hidden = {
            layer: torch.stack([value(shard, "hidden", row, kept.index(layer)) for shard, row in shards])
            for layer in sorted(wanted.layers)
        }
        if not wanted.logits or reading.positions_BT is None:
            return States(hidden)
        last_BPD = torch.stack([value(shard, "last", row) for shard, row in shards])
        return States(hidden, last_BPD[filled(reading.positions_BT, self.plan.masked_per_block)])

    def shard(self, part: Part, row: int) -> tuple[dict[str, Tensor], int]:
        """The tensors of the shard that holds a row, and the row's place in it."""
        number, place = divmod(row, self.plan.shard_rows(part))
        path = shard_path(self.folder, part, number)
        if path not in self.open:
            with safe_open(path, framework="pt") as file:
                self.open[path] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return self.open[path], place


def value(shard: dict[str, Tensor], name: str, *place: int) -> Tensor:
    """One block's states in float32, TD or PD."""
    scale = shard.get(f"{name}_scale")
    return decoded(shard[name][place], None if scale is None else scale[place[1:]])


def filled(positions_BT: Tensor, per_block: int) -> Tensor:
    """Which of the places BP of each block are taken: all, but for blocks with fewer words than that."""
    return torch.arange(per_block) < positions_BT.sum(1, keepdim=True).cpu()


def decoded(values: Tensor, scale: Tensor | None) -> Tensor:
    """Values in float32."""
    return values.float() if scale is None else values.float() * scale
