"""Files of other runtimes, opened: each by the library that runs it, all with the same few things to ask for.

A number must not depend on which processor happens to run it. OpenVINO computes float32 files in bfloat16 where the
processor can, and rounds the activations before maps of 4 bits to int8 where it can, unless it is told not to.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spaces.errors import StillhouseError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What onnxruntime calls a device."""
TELEMETRY = "openvino_telemetry"
FLOAT32: dict[str, Any] = {
    "INFERENCE_PRECISION_HINT": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}
"""For OpenVINO: what a file says in float is computed in float32, and no thread is bound to a core, since trials run
side by side on a machine."""


@dataclass(frozen=True)
class Session:
    """A file that can be run."""

    inputs: tuple[str, ...]
    run: Callable[[Sequence[str], Mapping[str, np.ndarray]], list[np.ndarray]]
    """from (names of outputs, inputs by name) to the values of these outputs"""


def by_onnxruntime(file: Path, threads: int, device: str = "cpu", further: Sequence[str] = ()) -> Session:
    """An ONNX file. further: tensors inside that are outputs as well.

    Raises StillhouseError when this onnxruntime does not know the device.
    """
    import onnx
    import onnxruntime

    if PROVIDERS[device] not in (known := onnxruntime.get_available_providers()):
        raise StillhouseError(f"onnxruntime has no {PROVIDERS[device]} here; it has {', '.join(known)}")
    graph = onnx.load(file)
    types = {each.name: each.type.tensor_type.elem_type for each in graph.graph.value_info}
    for name in further:
        state = onnx.helper.make_tensor_value_info(name, types.get(name, onnx.TensorProto.FLOAT), None)
        graph.graph.output.append(state)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, [PROVIDERS[device]])
    return Session(tuple(each.name for each in session.get_inputs()), session.run)


def by_openvino(file: Path, threads: int, device: str = "cpu", further: Sequence[str] = ()) -> Session:
    """A file of OpenVINO, or an ONNX file, which it reads too. further: tensors inside that are outputs as well."""
    core = load_openvino().Core()
    model = core.read_model(file)
    model.add_outputs(list(further))
    compiled = core.compile_model(model, device.upper(), FLOAT32 | {"INFERENCE_NUM_THREADS": threads})
    request = compiled.create_infer_request()

    def run(outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        request.infer(dict(feeds))
        return [request.get_tensor(name).data.copy() for name in outputs]  # the next call writes to the same memory

    return Session(tuple(each.get_any_name() for each in compiled.inputs), run)


def load_openvino() -> Any:
    """The package, without the message to Intel that importing it sends, unasked, where openvino_telemetry is there."""
    if "openvino" not in sys.modules and TELEMETRY not in sys.modules:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # as if it were not installed
        try:
            importlib.import_module("openvino")
        finally:
            del sys.modules[TELEMETRY]
    return importlib.import_module("openvino")
