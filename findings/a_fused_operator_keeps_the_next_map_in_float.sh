#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_static leaves the input of a MatMul in float where an operator of onnxruntime's own
# (com.microsoft) stands before it, and ends well; a warning in the log names the tensor.
#
# The quantiser asks onnx for the types of all tensors and rounds only what is known to be float. onnx knows nothing of
# the operators that onnxruntime's own optimiser writes (Gelu, MultiHeadAttention, SkipLayerNormalization), so what they
# return has no type, and whatever reads it stays in float: in a fused encoder the output map of every attention and
# every map after a norm. DefaultTensorType, an option for tensors without a type, is not asked for them. The file has
# int8 weights, is as small as it should be, and runs; only its nodes tell. A value_info with the type is enough.
# Here: two maps with a Gelu between them. Of ONNX: both inputs are rounded. Of com.microsoft: the first alone; both
# again once the file names the type.
# Seen: onnxruntime 1.32.0 (quantization/quant_utils.py, qdq_quantizer.py), onnx 1.23.2, numpy 2.4.6.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
cat > look.py <<'PY'
import logging

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)


def write(file, domain, known):
    """Two maps with an activation between them; `known`: the file says the type of every tensor."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Gelu", ["h"], ["g"], name="gelu", domain=domain),
        helper.make_node("MatMul", ["g", "w2"], ["y"], name="second"),
    ]
    weights = [numpy_helper.from_array(rng.normal(size=(32, 32)).astype(np.float32), name) for name in ("w1", "w2")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 32]) for name in ("x", "y", "g")]
    graph = helper.make_graph(nodes, "two maps", ends[:1], ends[1:2], weights, value_info=ends[2:] if known else [])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), file)


class Reader(CalibrationDataReader):
    def __init__(self):
        self.batches = iter([{"x": rng.normal(size=(64, 32)).astype(np.float32)}])

    def get_next(self):
        return next(self.batches, None)


def rounded(domain, known):
    """The maps whose input is rounded in the file that quantize_static writes."""
    write("float.onnx", domain, known)
    quantize_static("float.onnx", "int8.onnx", Reader())
    nodes = onnx.load("int8.onnx").graph.node
    makers = {output: node.op_type for node in nodes for output in node.output}
    return [node.name for node in nodes if node.op_type == "MatMul" and makers.get(node.input[0]) == "DequantizeLinear"]


found = {
    "Gelu of ONNX": rounded("", False),
    "Gelu of onnxruntime": rounded("com.microsoft", False),
    "Gelu of onnxruntime, its type in the file": rounded("com.microsoft", True),
}
for name, maps in found.items():
    print(f"{name}: rounded inputs of {maps}")
assert list(found.values()) == [["first", "second"], ["first"], ["first", "second"]], "the behaviour has changed"
PY
venv/bin/python look.py
