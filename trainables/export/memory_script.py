"""Prints the peak resident memory, in MB, of this process, which loads a student and embeds one batch of random tokens.

    python -P memory_script.py WHAT BATCH_SIZE LENGTH THREADS

It stands by itself, so that nothing is loaded but what a service loads. WHAT is the folder of a student, which torch
and transformers read, or a file for onnxruntime or OpenVINO, which need neither.
"""

import sys
from pathlib import Path

PEAK = "VmHWM:"
"""Of this program alone. What getrusage gives on Linux also counts the process that started it."""


def main(what: Path, batch_size: int, length: int, threads: int) -> None:
    """Load, run once, print."""
    run = in_torch if what.is_dir() else BY_SUFFIX[what.suffix]
    run(what, batch_size, length, threads)
    print(peak_bytes() / 1e6)


def in_onnxruntime(file: Path, batch_size: int, length: int, threads: int) -> None:
    """One pass over tokens BT to the embedding."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    ids_BT = np.full((batch_size, length), 5)
    known = {"input_ids": ids_BT, "attention_mask": np.ones_like(ids_BT), "token_type_ids": np.zeros_like(ids_BT)}
    session.run(["sentence_embedding"], {each.name: known[each.name] for each in session.get_inputs()})


def in_openvino(file: Path, batch_size: int, length: int, threads: int) -> None:
    """One pass over tokens BT to the embedding, without the message that importing openvino sends to Intel."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import numpy as np
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(file), "CPU", settings)
    ids_BT = np.full((batch_size, length), 5)
    known = {"input_ids": ids_BT, "attention_mask": np.ones_like(ids_BT), "token_type_ids": np.zeros_like(ids_BT)}
    model({each.get_any_name(): known[each.get_any_name()] for each in model.inputs})


BY_SUFFIX = {".onnx": in_onnxruntime, ".xml": in_openvino}
"""What runs a file."""


def in_torch(folder: Path, batch_size: int, length: int, threads: int) -> None:
    """One pass over tokens BT to the last states."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    ids_BT = torch.full((batch_size, length), 5)
    with torch.inference_mode():
        AutoModel.from_pretrained(folder).eval()(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT))


def peak_bytes() -> int:
    """Of the resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(PEAK))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
