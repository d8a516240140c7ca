"""What is inside a file of another runtime: attentions that are one operator, and learned matrices left in float."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainables.export.graphs import OPSET, attentions
from trainables.export.quantising import SMALL_MATRIX, float_weights
from trainables.models.sessions import load_openvino


@dataclass(frozen=True)
class Inside:
    """What a file says of itself."""

    fused_attentions: int | None
    """that are one operator; None: the runtime fuses them when it opens the file"""
    opset: int | None
    in_float: list[str] = field(default_factory=list)
    """what is computed with learned matrices in float32, tables of embeddings aside: 'Einsum 7, 384 x 64'"""


def of_onnx(file: Path) -> Inside:
    """By the graph."""
    return Inside(attentions(file), OPSET, float_weights(file))


def of_openvino(file: Path) -> Inside:
    """By the description. Numbers that are smaller in the file are converted before whatever reads them."""
    found = []
    for node in load_openvino().Core().read_model(file).get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type().get_type_name() != "f32":
            continue
        shape = list(node.get_output_shape(0))
        if len(shape) == 2 and np.prod(shape) >= SMALL_MATRIX:
            readers = [each.get_node() for each in node.output(0).get_target_inputs()]
            size = " x ".join(map(str, shape))
            found += [
                f"{each.get_type_name()} {each.get_friendly_name()}, {size}"
                for each in readers
                if each.get_type_name() != "Gather"
            ]
    return Inside(None, None, found)
