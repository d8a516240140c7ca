#!/usr/bin/env bash
# onnxruntime 1.32.0: importing the 4-bit quantiser gives the root logger a handler and the level INFO.
#
# `import onnxruntime.quantization` leaves logging alone. `import onnxruntime.quantization.matmul_nbits_quantizer`, the way to
# weights of 4 bits, calls logging.basicConfig as it is imported: from then on every library of the process prints its lines
# of level INFO to stderr, and a basicConfig of the program that comes later changes nothing, without a word.
# Seen: onnxruntime 1.32.0 with onnx 1.23.2 and onnx-ir 1.1.0.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 onnx-ir==1.1.0
cd "$folder"
cat > look.py <<'PY'
import importlib
import logging

root = logging.getLogger()


def state():
    return logging.getLevelName(root.level), len(root.handlers)


found = {"before": state()}
for name in ("onnxruntime.quantization", "onnxruntime.quantization.matmul_nbits_quantizer"):
    importlib.import_module(name)
    found[name] = state()
logging.basicConfig(level=logging.WARNING)  # what the program wants, too late
found["after the program's own basicConfig"] = state()
for what, (level, handlers) in found.items():
    print(f"{what}: level {level}, {handlers} handler(s)")
logging.getLogger("some.other.library").info("this line is printed now")
assert list(found.values()) == [("WARNING", 0), ("WARNING", 0), ("INFO", 1), ("INFO", 1)], "the behaviour has changed"
PY
venv/bin/python look.py
