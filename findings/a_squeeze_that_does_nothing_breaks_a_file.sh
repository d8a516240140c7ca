#!/usr/bin/env bash
# torch 2.13.0: a squeeze that torch skips is written to ONNX as one that no runtime may skip, and the file does not load.
#
# `x.squeeze(-1)` leaves a last axis that is not 1 wide as it is; code that serves heads of one output and of several has
# it. ONNX says that an axis which is squeezed must be 1 wide. torch.onnx.export (dynamo=True) knows that the axis is 3
# wide, writes Squeeze all the same, and returns without a word; onnxruntime then refuses the file. The exporter of torch
# before it was mended for this in 2020.
# Seen: torch 2.13.0, onnxscript 0.7.2, onnx 1.23.2, onnxruntime 1.32.0. Source: pytorch/pytorch#36796 (the older one).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 onnxscript==0.7.2 onnx==1.23.2 \
    onnxruntime==1.32.0 numpy
cd "$folder"
cat > look.py <<'PY'
import numpy as np
import onnx
import onnxruntime
import torch


class Head(torch.nn.Module):
    """Scores of three classes, or one score without its axis: squeeze leaves what is not 1 wide."""

    def __init__(self, outputs):
        super().__init__()
        self.out = torch.nn.Linear(4, outputs)

    def forward(self, x):
        return self.out(x).squeeze(-1)


def written(outputs):
    torch.manual_seed(0)
    head, x = Head(outputs).eval(), torch.randn(5, 4)
    file = f"{outputs}.onnx"
    torch.onnx.export(
        head, (x,), file, input_names=["x"], dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        dynamo=True, external_data=False, verbose=False,
    )
    return head(x).detach().numpy(), x.numpy(), file


for outputs in (1, 3):
    expected, x, file = written(outputs)
    nodes = [node.op_type for node in onnx.load(file).graph.node]
    print(f"{outputs} outputs: torch gives {expected.shape}, the file has {nodes}")
    try:
        found = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        loaded = np.allclose(found, expected, atol=1e-6)
    except Exception as error:
        print("onnxruntime:", str(error).splitlines()[0][-120:])
        loaded = False
    assert loaded == (outputs == 1) and "Squeeze" in nodes, "the behaviour has changed"
PY
venv/bin/python look.py 2>/dev/null
