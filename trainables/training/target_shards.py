"""Filling the target cache: run the teacher over the blocks of a shard, write it whole, tell a whole one from another.

Shapes: n blocks of a shard, R kept rows of a block, D width.
"""

import json
import zlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainables.cache import new_file
from trainables.copies import at_hand, is_home, shared_file
from trainables.models.signals import read_states
from trainables.models.teacher import Teacher
from trainables.text.batching import length_batches
from trainables.text.corpus import Corpus, open_corpus
from trainables.training.readings import read_batch
from trainables.training.targets import DTYPES, Part, TargetPlan, decoded, shard_path

CHUNK_BLOCKS = 16


def build_shard(plan: TargetPlan, part: Part, number: int, teacher: Teacher) -> float:
    """Run the teacher over the blocks of a shard and write it; returns its relative error from rounding (RMS)."""
    corpus, size = open_corpus(at_hand(plan.corpus)).of_teacher, plan.shard_rows(part)
    rows = np.arange(number * size, min((number + 1) * size, plan.rows(part)))
    lengths = corpus.row_lengths(part.split, blocks_of(plan, part, rows))
    chunks = [rows[each] for each in length_batches(lengths, CHUNK_BLOCKS * plan.sequence_length)]
    read = [states_of_blocks(plan, part, chunk, corpus, teacher) for chunk in chunks]
    in_order = torch.from_numpy(np.argsort(np.concatenate(chunks)))
    tensors: dict[str, Tensor] = {}
    squares = torch.zeros(2, dtype=torch.float64)
    for state in plan.states(part):
        whole_nRD = torch.cat([chunk[state.key] for chunk in read])[in_order]
        values, scale = encoded(whole_nRD, plan.dtype)
        tensors |= {state.key: values} if scale is None else {state.key: values, f"{state.key}:scale": scale}
        error = decoded(values, scale) - whole_nRD
        squares += torch.stack([error.double().square().sum(), whole_nRD.double().square().sum()])
    relative_error = float((squares[0] / squares[1]).sqrt())
    facts = {
        "key": plan.key, "shard": f"{part.name}/{number}", "crc32": str(checksum(tensors)),
        "relative_error": f"{relative_error:.3g}",
    }  # fmt: skip
    path = shard_path(plan.folder, part, number)
    with new_file(path) as unfinished:
        save_file(tensors, unfinished, metadata=facts)
    shared_file(path)
    return relative_error


@torch.no_grad()
def states_of_blocks(
    plan: TargetPlan, part: Part, rows: np.ndarray, corpus: Corpus, teacher: Teacher
) -> dict[str, Tensor]:
    """The states nRD of the live teacher for some rows of a part, by their keys."""
    blocks = blocks_of(plan, part, rows)
    views = None if part.view is None else np.full(len(rows), part.view)
    device = teacher.model.device
    reading = read_batch(corpus, part.split, blocks, views, plan.mask_fraction).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=plan.bf16):
        states = read_states(teacher.model, plan.states(part), reading.inputs_BT, reading.mask_BT, reading.positions_BT)
    packed = {
        state: state.positions.pack(tensor.float().cpu(), reading.positions_BT, plan.kept_rows(state))
        for state, tensor in states.items()
    }
    return {state.key: filled_up(rows_nRD, plan.kept_rows(state)) for state, rows_nRD in packed.items()}


def blocks_of(plan: TargetPlan, part: Part, rows: np.ndarray) -> np.ndarray:
    """The rows of the corpus that are kept as some rows of a part."""
    return np.asarray(plan.blocks)[rows] if part.split == "train" else rows


def filled_up(rows_nRD: Tensor, rows: int) -> Tensor:
    """The rows of texts that are shorter than the longest, filled up with zeros."""
    return F.pad(rows_nRD, (0, 0, 0, rows - rows_nRD.shape[1]))


def encoded(whole_nRD: Tensor, dtype: str) -> tuple[Tensor, Tensor | None]:
    """Values in the stored dtype; for int8 with one scale 1D for each unit, the largest value over 127."""
    if dtype != "int8":
        return whole_nRD.to(DTYPES[dtype]), None
    scale_1D = whole_nRD.abs().amax((0, 1), keepdim=True).clamp_min(1e-12)[0] / 127
    return (whole_nRD / scale_1D).round_().to(torch.int8), scale_1D


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
    """The shards that are missing, damaged or foreign here, and not at the home of the cache."""
    return [
        shard for shard in plan.shards() if not is_home(shard_path(plan.folder, *shard)) and not is_whole(plan, *shard)
    ]


def write_plan(plan: TargetPlan) -> None:
    """Say in the folder what it holds; written when all shards are there, so that its presence means a whole cache."""
    facts = plan.facts() | {"shard_rows": {part.name: plan.shard_rows(part) for part in plan.parts()}}
    np.save(plan.folder / "blocks.npy", np.asarray(plan.blocks))
    with new_file(plan.folder / "plan.json") as unfinished:
        unfinished.write_text(json.dumps(facts, indent=1) + "\n")
    for name in ("blocks.npy", "plan.json"):
        shared_file(plan.folder / name)
