"""float16 of an ONNX file: weights and what is computed with them, by onnxruntime's converter.

float16 ends at 65504. Norms and sums, which square or add up many values, stay in float32; so does whatever meets a
value near that end on text. Inputs and outputs are as in the file in float.

onnxruntime's own CPU kernels on x86 read such weights and compute in float32: the file is half as large there, and not
faster.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HALF = "fp16"
IN_FLOAT = (
    "LayerNormalization", "SkipLayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "Softmax",
    "Pow", "Sqrt", "ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2",
)  # fmt: skip
LARGE = 65504 / 4
"""Of a value on text; others may be larger than those that were seen."""
MASKING = 1e30
"""From here on a value stands for minus infinity before a softmax, and is cut to the smallest of float16."""
TEXTS = 8
"""That are looked at."""

Feeds = Sequence[dict[str, np.ndarray]]


def in_half(graph: Path, to: Path, feeds: Feeds) -> None:
    """Write the graph with weights and values in float16, but for what stays in float32 (see above)."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    model = onnx.load(graph)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    kept = meeting(model, too_large(model, feeds[:TEXTS]))
    found = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT], node_block_list=kept
    )
    join_in_float(found)
    onnx.save(found, to)


def too_large(model: Any, feeds: Feeds) -> set[str]:
    """Names of the weights, and of the tensors on these inputs, that hold a value beyond LARGE."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    found = {each.name for each in model.graph.initializer if is_large(numpy_helper.to_array(each))}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    there = {each.name for each in watched.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    for each in feeds:
        found |= {name for name, value in zip(names, session.run(names, each), strict=True) if is_large(value)}
    return found


def join_in_float(model: Any) -> None:
    """What stays in float32 reads what others give that do: the converter rounds each value in between to float16."""
    import onnx

    half, whole = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}
    to = {name: node.attribute[0].i for name, node in casts.items()}
    before = {
        name: casts[node.input[0]].input[0]
        for name, node in casts.items()
        if to[name] == whole and to.get(node.input[0]) == half
    }
    outputs = {each.name for each in model.graph.output}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = before.get(name, name)
    for name in before:
        if name not in outputs:
            model.graph.node.remove(casts[name])
            continue
        casts[name].op_type = "Identity"
        del casts[name].attribute[:]
        casts[name].input[0] = before[name]


def is_large(value: np.ndarray) -> bool:
    """Whether a float tensor holds a value between LARGE and MASKING."""
    if value.dtype != np.float32:
        return False
    sizes = np.abs(value)
    return bool(((sizes > LARGE) & (sizes < MASKING)).any())


def meeting(model: Any, tensors: set[str]) -> list[str]:
    """Names of the nodes that read or give one of these tensors."""
    return [node.name for node in model.graph.node if tensors & {*node.input, *node.output}]
