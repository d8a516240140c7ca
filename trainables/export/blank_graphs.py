"""Graphs without weights: a shape is traced once, and each model of that shape puts its weights into the trace.

Tracing takes seconds, and a search needs the file of every student it scores. Which tensor of the graph is which weight
is found on a copy of the model with random weights, where no two are alike: the exporter renames and transposes them.
What a graph keeps that is no weight as it stands comes from the copy, and is wrong; so whoever fills a graph compares
its numbers with the model's (`export_onnx`).
"""

import copy
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainables.cache import cache_folder, digest, new_folder
from trainables.models.embedding import Dense, Embedder, embedder_of, set_embedder
from trainables.models.encoder import classes_of

PACKAGES = ("torch", "transformers", "onnx", "onnxscript")
"""That make a graph what it is."""
GRAPH, PLACES = "graph.onnx", "weights.json"
ABOUT = ("_name_or_path", "architectures", "dtype", "transformers_version")
"""What a config says of a folder and its weights, and no graph depends on: a student is built, saved and loaded."""
SPREAD = 0.02
"""Of random weights: small, so that no activation overflows."""


def fill_graph(model: PreTrainedModel, file: Path, trace: Callable[[PreTrainedModel, Path], None], opset: int) -> None:
    """Write the graph of a model from that of its shape, which is traced and kept in the cache if it is not there yet.

    trace: writes the graph of a model, weights included.
    """
    import onnx

    folder = cache_folder() / "graphs" / digest(3, *identity(model), opset)
    if not folder.is_dir():
        with new_folder(folder) as unfinished:
            blank(model, unfinished, trace)
    graph, weights = onnx.load(folder / GRAPH), weights_of(model)
    places: dict[str, tuple[str, bool]] = json.loads((folder / PLACES).read_text())
    for tensor in graph.graph.initializer:
        if tensor.name in places:
            name, transposed = places[tensor.name]
            tensor.raw_data = as_bytes(weights[name].T if transposed else weights[name])
    onnx.save(graph, file)


def identity(model: PreTrainedModel) -> list[object]:
    """What models share that have the same graph."""
    embedder = embedder_of(model)
    steps = [
        (step.activation, step.weight.shape, step.bias is not None) if isinstance(step, Dense) else "Normalize"
        for step in embedder.steps
    ]
    known = {name: value for name, value in model.config.to_dict().items() if name not in ABOUT}
    config = json.dumps(known, sort_keys=True, default=str)
    encoder, classes = type(model.base_model).__name__, len(classes_of(model))
    how = (encoder, classes, config, embedder.pooling, embedder.skipped, steps, embedder.dims)
    return [*how, *(importlib.metadata.version(package) for package in PACKAGES)]


def blank(model: PreTrainedModel, folder: Path, trace: Callable[[PreTrainedModel, Path], None]) -> None:
    """Trace a copy with random weights; write the graph without them, and where they were."""
    import onnx
    from onnx import numpy_helper

    twin = randomised(model)
    trace(twin, folder / GRAPH)
    known: dict[str, tuple[str, bool]] = {}
    for name, weight in weights_of(twin).items():
        known[digest(as_bytes(weight))] = (name, False)
        if weight.ndim == 2:
            known.setdefault(digest(as_bytes(weight.T)), (name, True))
    graph, places = onnx.load(folder / GRAPH), {}
    for tensor in graph.graph.initializer:
        found = known.get(digest(numpy_helper.to_array(tensor).tobytes()))
        if found is not None:
            places[tensor.name] = found
            tensor.raw_data = b""
    onnx.save(graph, folder / GRAPH)
    (folder / PLACES).write_text(json.dumps(places))


def randomised(model: PreTrainedModel) -> PreTrainedModel:
    """A copy, none of whose weights are alike."""
    twin, generator = copy.deepcopy(model).float(), torch.Generator().manual_seed(0)

    def drawn(shape: torch.Size) -> Tensor:
        return SPREAD * torch.randn(shape, generator=generator)

    with torch.no_grad():
        for weight in written(twin).parameters():
            weight.copy_(drawn(weight.shape))
    embedder: Embedder = embedder_of(model)
    steps = [
        replace(step, weight=drawn(step.weight.shape), bias=None if step.bias is None else drawn(step.bias.shape))
        if isinstance(step, Dense)
        else step
        for step in embedder.steps
    ]
    set_embedder(twin, replace(embedder, steps=tuple(steps)))
    return twin


def weights_of(model: PreTrainedModel) -> Mapping[str, Tensor]:
    """All that is learned, by name: of what is written, and of the maps of its embedder."""
    found: dict[str, Any] = dict(written(model).named_parameters())
    for number, step in enumerate(embedder_of(model).dense):
        found |= {f"dense {number} weight": step.weight, f"dense {number} bias": step.bias}
    return {name: weight for name, weight in found.items() if weight is not None}


def written(model: PreTrainedModel) -> PreTrainedModel:
    """What of a model a file holds: the encoder, and the head of a classifier."""
    return model if classes_of(model) else cast(PreTrainedModel, model.base_model)


def as_bytes(weight: Tensor) -> bytes:
    """As a graph keeps it."""
    return np.ascontiguousarray(weight.detach().float().numpy()).tobytes()
