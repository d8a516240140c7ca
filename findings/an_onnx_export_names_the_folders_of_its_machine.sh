#!/usr/bin/env bash
# torch 2.13.0: a file that torch.onnx.export writes holds, for each operator, the absolute path of the source file that it
# was traced from and the lines of code around it. No option turns that off; verbose=False does not.
#
# The exporter (the default one since torch 2.9, dynamo=True) keeps the stack trace of each node in metadata_props, under
# pkg.torch.onnx.stack_trace. Who publishes the file publishes the layout of their machine, the name of the account
# in a home folder, and lines of their own code; and the same model exported from two folders gives two files, so that
# digests and caches by content differ. Here a folder called very_private_folder stands in the file, with a comment
# beside the code. Taken out by hand they are gone: del node.metadata_props[:] for every node, then onnx.save.
# Seen: torch 2.13.0 (torch/onnx/_internal/exporter/_core.py), onnx 1.23.2, onnxscript 0.7.2, Python 3.11.
# The wheel of torch on PyPI is large; a machine that has the CPU wheel on another index takes that.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
mkdir "$folder/very_private_folder"; cd "$folder/very_private_folder"
cat > look.py <<'PY'
import onnx
import torch


class Map(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.map = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.map(x).relu()  # a remark of ours


torch.onnx.export(Map().eval(), (torch.ones(2, 4),), "map.onnx", dynamo=True, external_data=False, verbose=False)
private = (b"very_private_folder", b"a remark of ours", b"site-packages/torch")
found = [word for word in private if word in open("map.onnx", "rb").read()]
model = onnx.load("map.onnx")
traces = [each.value for node in model.graph.node for each in node.metadata_props if each.key.endswith("stack_trace")]
print("in the file:", *(word.decode() for word in found), sep="\n  ")
print("\n" + traces[0])
for node in model.graph.node:
    del node.metadata_props[:]
onnx.save(model, "bare.onnx")
left = [word for word in private if word in open("bare.onnx", "rb").read()]
print("\nafter del node.metadata_props[:]:", left or "none of them")
assert b"very_private_folder" in found and b"site-packages/torch" in found and not left, "the behaviour has changed"
PY
../venv/bin/python look.py 2> errors.txt || { cat errors.txt; exit 1; }
