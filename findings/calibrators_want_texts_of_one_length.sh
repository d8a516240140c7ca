#!/usr/bin/env bash
# onnxruntime 1.32.0: two of the three calibrators of quantize_static cannot read texts of different lengths.
#
# A model with a free length takes a batch of 8 tokens and one of 12. Calibration by minimum and maximum does too. By
# entropy or by percentile it ends in numpy's "inhomogeneous shape", from a line that makes one array of all that was
# seen of a tensor: every batch must have the same shape, which no guide says. Texts have to be padded or cut to one
# length first, and then the padding is calibrated as well.
# Seen: onnxruntime 1.32.0 (quantization/calibrate.py, HistogramCalibrater.collect_data), onnx 1.23.2, numpy 2.4.6.
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
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["states", "w"], ["y"], name="map")],
    "one map",
    [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", "length", 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", 16])],
    [numpy_helper.from_array(rng.normal(size=(16, 16)).astype(np.float32), "w")],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "float.onnx")


class Texts(CalibrationDataReader):
    def __init__(self, lengths):
        self.batches = iter([{"states": rng.normal(size=(1, n, 16)).astype(np.float32)} for n in lengths])

    def get_next(self):
        return next(self.batches, None)


def outcome(method, lengths):
    try:
        quantize_static("float.onnx", "int8.onnx", Texts(lengths), calibrate_method=method)
    except ValueError as error:
        return "inhomogeneous shape" if "inhomogeneous shape" in str(error) else str(error)
    return "written"


found = {
    method.name: (outcome(method, [12, 12]), outcome(method, [8, 12]))
    for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile)
}
for name, (same, different) in found.items():
    print(f"{name:10} texts of 12 and 12: {same};  of 8 and 12: {different}")
failed = ("written", "inhomogeneous shape")
assert found == {"MinMax": ("written", "written"), "Entropy": failed, "Percentile": failed}, "the behaviour has changed"
PY
venv/bin/python look.py
