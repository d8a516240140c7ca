#!/usr/bin/env bash
# onnxruntime 1.32.0: nodes that convert_float_to_float16 is told to keep in float32 hand each other float16.
#
# `op_block_list` is how one keeps what overflows (squares, sums, norms) in float32. But each kept node gets a cast from
# and a cast to float16 of its own, also where the node before and the node after are kept as well: the value between them
# passes through float16, and what is beyond 65,504 is infinite there. A square of 300 and its root, both kept, give inf
# instead of 300; the graph has casts to float16 and back between two float32 nodes.
# Seen: onnxruntime 1.32.0, onnx 1.23.2. Source: onnxruntime/transformers/float16.py, convert_float_to_float16.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy
cd "$folder"
cat > look.py <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.transformers.float16 import convert_float_to_float16

squared = helper.make_node("Mul", ["x", "x"], ["square"], name="square")
root = helper.make_node("Sqrt", ["square"], ["y"], name="root")
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
graph = helper.make_graph([squared, root], "norm", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": np.array([300.0], np.float32)})[0][0])


before = run(model)
kept = convert_float_to_float16(model, keep_io_types=True, op_block_list=["Mul", "Sqrt"])
between = [node.op_type for node in kept.graph.node]
after = run(kept)
print("float32:", before, "  both nodes kept in float32:", after, "  nodes:", between)
assert before == 300.0 and np.isinf(after) and between.count("Cast") >= 3, "the behaviour has changed"
PY
venv/bin/python look.py
