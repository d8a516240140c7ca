"""An ONNX graph as a file of OpenVINO: a description in XML, and the weights beside it."""

from pathlib import Path

from trainables.models.sessions import load_openvino


def write_ir(graph: Path, to: Path) -> Path:
    """Write `to`, which ends in .xml, and its .bin. Weights keep their numbers. The same graph gives the same files."""
    openvino = load_openvino()
    model = openvino.Core().read_model(graph)
    for number, node in enumerate(model.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():  # counted through all that this process has read
            node.set_friendly_name(f"{node.get_type_name()}_number_{number}")
    openvino.save_model(model, str(to), compress_to_fp16=False)
    return to
