"""Which maps of a rounded graph stay in float: those whose rounding alone moves the embeddings of texts most.

All maps are rounded once, by whatever quantiser. Each map of that graph and its own in float are then the two branches
of a node in one graph, which is opened once and run with one map rounded at a time. It is the order that the quantiser
gives when it rounds each map alone; 8 of 64 texts give nearly the same (docs/results/deploy.md).

A map is a product with a learned matrix. Shapes: N texts, E width of an embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainables.models.file_encoder import EMBEDDING

PRODUCTS = ("MatMul", "Gemm")
"""Operators that quantisers take."""
RANKING_TEXTS = 8
"""That are embedded once for each map."""
WHICH, ROUNDED, FLOAT = "which_map", "_in_rounded", "_in_float"
"""The further input of a graph whose maps are switched, and the ends of names of what is in one of two branches."""

Parts = dict[str, list[Any]]
"""By what a map gives, the nodes that take its place where it is rounded."""


def parts_of(graph: Any, rounded: Any) -> Parts:
    """What the quantiser made of each product of the graph that it took, in their order.

    Both are models; what they call the same has the same meaning, but for a bias, which may be computed under its name.
    """
    known = {name for node in graph.graph.node for name in node.output} | {each.name for each in graph.graph.input}
    computed = {name for node in rounded.graph.node for name in node.output}
    own_names = {each.name: each.name + ROUNDED for each in graph.graph.initializer if each.name in computed}
    nodes = [renamed(node, own_names) for node in rounded.graph.node]
    made_by = {name: node for node in nodes for name in node.output}

    def before(name: str, found: list[Any]) -> list[Any]:
        node = made_by.get(name)
        if node is not None and node not in found:
            for each in node.input:
                if each not in known:
                    before(each, found)
            found.append(node)
        return found

    return {
        name: before(name, [])
        for node in graph.graph.node
        if node.op_type in PRODUCTS
        for name in node.output
        if (made_by[name].op_type, *made_by[name].input) != (node.op_type, *node.input)
    }


def round_products(graph: Any, rounded: Any, in_float: int, texts: Sequence[dict[str, np.ndarray]]) -> None:
    """Give a graph its products as the quantiser rounded them, but for the maps whose rounding moves embeddings most.

    What is no rounded product reads what it read: onnxruntime's quantiser puts rounded values before all readers of
    what a map reads, above all the stream past each sublayer. in_float: how many maps are left; all where there are
    fewer. texts: inputs of the graph, of which some are embedded.
    """
    parts = parts_of(graph, rounded)
    if in_float:
        learned = {each.name for each in graph.graph.initializer}
        products = {node.output[0]: node for node in graph.graph.node if node.output[0] in parts}
        maps = {name: part for name, part in parts.items() if learned & set(products[name].input[:2])}
        for name in most_moving(graph, rounded, maps, texts)[:in_float]:
            del parts[name]
    add_weights(graph, rounded, parts)
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    there = {each.output[0]: each for node in nodes for each in parts.get(node.output[0], [node])}
    graph.graph.node.extend(there.values())  # maps that read the same share how it is rounded
    read = {name for node in there.values() for name in node.input}
    for each in [each for each in graph.graph.initializer if each.name not in read]:
        graph.graph.initializer.remove(each)


def most_moving(graph: Any, rounded: Any, maps: Parts, texts: Sequence[dict[str, np.ndarray]]) -> list[str]:
    """The maps by what their rounding alone moves embeddings by: the mean squared distance at length 1, largest first.

    On one thread: the same graphs and texts give the same order.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 1, 1, 3
    content = switched(graph, rounded, maps).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    several = list({id(each): each for each in texts}.values())  # a text that is there again tells nothing new
    chosen = [several[i] for i in np.unique(np.linspace(0, len(several) - 1, RANKING_TEXTS).astype(int))]

    def embeddings(place: int) -> np.ndarray:
        feeds = ({**each, WHICH: np.array(place)} for each in chosen)
        found_NE = np.concatenate([session.run([EMBEDDING], each)[0] for each in feeds]).astype(np.float64)
        return found_NE / np.maximum(np.linalg.norm(found_NE, axis=-1, keepdims=True), 1e-12)

    float_NE = embeddings(-1)
    moved = {name: float(np.square(embeddings(i) - float_NE).sum(-1).mean()) for i, name in enumerate(maps)}
    return sorted(maps, key=lambda name: -moved[name])


def switched(graph: Any, rounded: Any, maps: Parts) -> Any:
    """A copy of the graph with a further input: the place of the map that is rounded, -1 for none."""
    import onnx

    make, number = onnx.helper, onnx.TensorProto
    found, places = copy_of(graph), {name: place for place, name in enumerate(maps)}
    add_weights(found, rounded, maps)
    nodes = list(found.graph.node)
    del found.graph.node[:]
    found.graph.input.append(make.make_tensor_value_info(WHICH, number.INT64, []))

    def branch(part: list[Any], name: str, end: str) -> Any:
        copies = [renamed(node, {name: name + end}) for node in part]
        return make.make_graph(copies, name + end, [], [make.make_tensor_value_info(name + end, number.FLOAT, None)])

    for node in nodes:
        if (name := node.output[0]) not in places:
            found.graph.node.append(node)
            continue
        found.graph.initializer.append(onnx.numpy_helper.from_array(np.array(places[name]), f"{name}_place"))
        found.graph.node.extend([
            make.make_node("Equal", [WHICH, f"{name}_place"], [f"{name}_is_rounded"]),
            make.make_node(
                "If", [f"{name}_is_rounded"], [name], then_branch=branch(maps[name], name, ROUNDED),
                else_branch=branch([node], name, FLOAT),
            ),
        ])  # fmt: skip
    return found


def copy_of(message: Any) -> Any:
    """A copy of a node or a model."""
    return type(message).FromString(message.SerializeToString())


def renamed(node: Any, names: Mapping[str, str]) -> Any:
    """A copy of a node whose inputs and outputs have other names."""
    found = copy_of(node)
    for ends in (found.input, found.output):
        ends[:] = [names.get(name, name) for name in ends]
    return found


def add_weights(graph: Any, rounded: Any, parts: Parts) -> None:
    """Give a graph the weights and the sets of operators that these parts need."""
    wanted = {name for part in parts.values() for node in part for name in node.input}
    wanted -= {each.name for each in graph.graph.initializer}
    graph.graph.initializer.extend(each for each in rounded.graph.initializer if each.name in wanted)
    known = {each.domain for each in graph.opset_import}
    graph.opset_import.extend(each for each in rounded.opset_import if each.domain not in known)
