"""Filling the target cache: run the teacher over the blocks of a shard, write it whole, tell a whole one from another.

Shapes: n blocks of a shard, L kept layers, T tokens, P masked positions of a block, D width.
"""

import json
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainables.cache import new_file
from trainables.models.teacher import Teacher, read_states
from trainables.text.corpus import Corpus, open_corpus
from trainables.training.readings import read_batch
from trainables.training.targets import DTYPES, Part, TargetPlan, decoded, filled, shard_path

CHUNK_BLOCKS = 16


def build_shard(plan: TargetPlan, part: Part, number: int, teacher: Teacher) -> float:
    """Run the teacher over the blocks of a shard and write it; returns its relative error from rounding (RMS)."""
    corpus, size = open_corpus(Path(plan.corpus)), plan.shard_rows(part)
    rows = np.arange(number * size, min((number + 1) * size, plan.rows(part)))
    chunks = np.split(rows, range(CHUNK_BLOCKS, len(rows), CHUNK_BLOCKS))
    hidden, last = zip(*(teacher_states(plan, part, chunk, corpus, teacher) for chunk in chunks), strict=True)
    tensors: dict[str, Tensor] = {}
    squares = torch.zeros(2, dtype=torch.float64)
    for name, kept in (("hidden", hidden), ("last", last)):
        if kept[0] is None:
            continue
        whole = torch.cat(kept)
        stored = encoded(whole, plan.dtype)
        tensors |= {name if key == "values" else f"{name}_scale": tensor for key, tensor in stored.items()}
        error = decoded(stored["values"], stored.get("scale")) - whole
        squares += torch.stack([error.double().square().sum(), whole.double().square().sum()])
    relative_error = float((squares[0] / squares[1]).sqrt())
    facts = {
        "key": plan.key, "shard": f"{part.name}/{number}", "crc32": str(checksum(tensors)),
        "relative_error": f"{relative_error:.3g}",
    }  # fmt: skip
    with new_file(shard_path(plan.folder, part, number)) as unfinished:
        save_file(tensors, unfinished, metadata=facts)
    return relative_error


@torch.no_grad()
def teacher_states(
    plan: TargetPlan, part: Part, rows: np.ndarray, corpus: Corpus, teacher: Teacher
) -> tuple[Tensor | None, Tensor | None]:
    """(hidden nLTD, last nPD) of the live teacher for some rows of a part; short blocks are filled up with zeros."""
    blocks = np.asarray(plan.blocks)[rows] if part.split == "train" else rows
    views = None if part.view is None else np.full(len(rows), part.view)
    device, layers = teacher.model.device, plan.layers(part)
    reading = read_batch(corpus, part.split, blocks, views, plan.mask_fraction).to(device)
    positions_BT = reading.positions_BT if plan.needs.last else None
    with torch.autocast(device.type, torch.bfloat16, enabled=plan.bf16):
        states = read_states(teacher.model, frozenset(layers), reading.inputs_BT, None, positions_BT)
    hidden = torch.stack([states.hidden[layer].float().cpu() for layer in layers], dim=1) if layers else None
    if states.last_ND is None or positions_BT is None:
        return hidden, None
    last_nPD = torch.zeros(len(rows), plan.masked_per_block, plan.width)
    last_nPD[filled(positions_BT, plan.masked_per_block)] = states.last_ND.float().cpu()
    return hidden, last_nPD


def encoded(whole: Tensor, dtype: str) -> dict[str, Tensor]:
    """Values in the stored dtype; for int8 one scale for each unit (and layer), the largest value over 127."""
    if dtype != "int8":
        return {"values": whole.to(DTYPES[dtype])}
    over = (0, 2) if whole.ndim == 4 else (0, 1)
    scale = whole.abs().amax(over, keepdim=True).clamp_min(1e-12) / 127
    return {"values": (whole / scale).round_().to(torch.int8), "scale": scale[0]}


def checksum(tensors: dict[str, Tensor]) -> int:
    """CRC-32 over the bytes of all tensors, in the order of their names."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].contiguous().view(torch.uint8).numpy().data, value)
    return value


def is_whole(plan: TargetPlan, part: Part, number: int) -> bool:
    """Whether a shard is there, belongs to this cache and has the bytes that were written."""
    path = shard_path(plan.folder, part, number)
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("key") != plan.key or facts.get("shard") != f"{part.name}/{number}":
                return False
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError):
        return False
    return facts.get("crc32") == str(checksum(tensors))


def unfinished_shards(plan: TargetPlan) -> list[tuple[Part, int]]:
    """The shards that are missing, damaged or foreign."""
    return [shard for shard in plan.shards() if not is_whole(plan, *shard)]


def write_plan(plan: TargetPlan) -> None:
    """Say in the folder what it holds; written when all shards are there, so that its presence means a whole cache."""
    facts = {**asdict(plan), "blocks": len(plan.blocks)}
    np.save(plan.folder / "blocks.npy", np.asarray(plan.blocks))
    with new_file(plan.folder / "plan.json") as unfinished:
        unfinished.write_text(json.dumps(facts, indent=1) + "\n")
