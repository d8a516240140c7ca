"""int8 and int4 of an ONNX file: maps by onnxruntime's quantisers; tables of embeddings in int8, a scale per row.

In int8 a map has a scale per channel.

Weights take 7 of the 8 bits: two products of an unsigned activation and a signed weight are summed in 16 bits on x86
processors without VNNI, and with 8 they would saturate, so that the same file would give other embeddings on another
machine. Unsigned weights are exact there as well, and slower.

What a map gives stays in float. Rounded to one scale as well, which is the quantiser's default for static int8, a few
large channels of the second feed-forward maps cost most of the precision.

Shapes: V rows of a table, D width.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spaces.errors import StillhouseError
from spaces.records.runtimes import FLOAT_PRECISION, base_of, maps_in_float
from trainables.export.float_maps import PRODUCTS, round_products
from trainables.export.half_precision import HALF, in_half

STATIC = "int8"
"""The precision whose scales are found on text."""
FEWEST_TEXTS = 8
"""Texts without which the range of an activation is a guess."""
LARGE_TABLE = 2**14
"""Values; smaller tables stay in float."""
BLOCK = 16
"""Weights of a column that share a scale in int4: the fewest that onnxruntime takes, which keep most precision."""
IN_FLOAT32 = 1
"""What onnxruntime calls products of int4 weights in float32; in int8 they are slower with so small a block."""
SMALL_MATRIX = 2**10
"""Values; of smaller matrices nobody wants to hear."""
ONLY_MAPS: dict[str, Any] = {"op_types_to_quantize": list(PRODUCTS), "per_channel": True, "reduce_range": True}
"""The reduced range is that of 7 bits, -64 to 64; it is the weights' alone."""
FLOAT_AFTER = {"DefaultTensorType": 1, "OpTypesToExcludeOutputQuantization": list(PRODUCTS)}
"""1 is float in ONNX: the quantiser does not find out what an operator of com.microsoft gives."""

Feeds = Sequence[dict[str, np.ndarray]]
"""Inputs of a graph, one text each."""


def static_int8(graph: Path, to: Path, feeds: Feeds, in_float: int = 0) -> None:
    """Scales of activations are fixed, by the smallest and largest value on `feeds`: a text alone and in a batch agree.

    Raises StillhouseError for fewer than FEWEST_TEXTS texts.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    if len(feeds) < FEWEST_TEXTS:
        raise StillhouseError(
            f"int8 needs {FEWEST_TEXTS} texts to find the range of the activations, the corpus has {len(feeds)}; give "
            "more text, or take --precision int8-dynamic, which needs none"
        )
    with rounded(graph, to, feeds, in_float) as maps:
        quantize_static(
            graph, maps, reader_of(feeds), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax, extra_options=FLOAT_AFTER,
            **ONLY_MAPS,
        )  # fmt: skip


def dynamic_int8(graph: Path, to: Path, feeds: Feeds, in_float: int = 0) -> None:
    """Scales of activations are found anew in each batch, so that a text's embedding depends on its neighbours."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with rounded(graph, to, feeds, in_float) as maps:
        quantize_dynamic(graph, maps, weight_type=QuantType.QInt8, extra_options=FLOAT_AFTER, **ONLY_MAPS)


def int4_weights(graph: Path, to: Path, feeds: Feeds, in_float: int = 0) -> None:
    """Maps in 4 bits, a scale and a zero point for each BLOCK weights of a column; what they give is in float."""
    import onnx

    with rounded(graph, to, feeds, in_float) as maps:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantiser = MatMulNBitsQuantizer(onnx.load(graph), bits=4, block_size=BLOCK, accuracy_level=IN_FLOAT32)
        quantiser.process()
        onnx.save(quantiser.model.model, maps)


@contextlib.contextmanager
def rounded(graph: Path, to: Path, feeds: Feeds, in_float: int) -> Iterator[Path]:
    """Where a quantiser writes the graph with all of its maps rounded; then `to` is written.

    `to` has so many maps in float, those whose rounding moves embeddings of the texts most, and tables in int8.
    """
    import onnx

    with tempfile.TemporaryDirectory() as scratch, quiet():
        maps = Path(scratch) / "maps.onnx"
        yield maps
        model = onnx.load(graph)
        round_products(model, onnx.load(maps), in_float, feeds)
        onnx.save(model, maps)
        quantise_tables(maps, to)


QUANTISERS: dict[str, Callable[..., None]] = {
    HALF: in_half,
    STATIC: static_int8,
    "int8-dynamic": dynamic_int8,
    "int4-weights": int4_weights,
}
"""(float graph, file to write, inputs to calibrate with), by precision; of KEEPING also `in_float`, a count of maps."""


def quantiser_of(precision: str) -> Callable[[Path, Path, Feeds], None] | None:
    """What writes a precision, such as int8+4; None for float."""
    if precision == FLOAT_PRECISION:
        return None
    quantise, in_float = QUANTISERS[base_of(precision)], maps_in_float(precision)
    return partial(quantise, in_float=in_float) if in_float else quantise


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """onnxruntime's quantiser advises its own preprocessing by the root logger, and prints what it is at.

    Its module for 4 bits gives a root logger without handlers one when it is imported, which would stay.
    """
    root, silent = logging.getLogger(), logging.NullHandler()
    before = root.level
    root.addHandler(silent)
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)
        root.removeHandler(silent)


def reader_of(feeds: Feeds) -> Any:
    """What onnxruntime's calibration asks for the next inputs."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """One after the other, then None."""

        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next inputs."""
            return next(self.left, None)

    return Reader()


def quantise_tables(graph: Path, to: Path) -> None:
    """Write the graph with each large table VD of embeddings in int8, a scale for each row.

    onnxruntime's quantiser has one scale for a table, which is that of its longest row.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(graph)
    weights = {each.name: each for each in model.graph.initializer}
    readers = {name: [node for node in model.graph.node if name in node.input] for name in weights}
    for name, nodes in readers.items():
        table = weights[name]
        if len(table.dims) != 2 or int(np.prod(table.dims)) < LARGE_TABLE or not all(map(is_lookup, nodes)):
            continue
        table_VD = numpy_helper.to_array(table)
        scale_V1 = np.maximum(np.abs(table_VD).max(1, keepdims=True), 1e-12).astype(np.float32) / 127
        table.CopyFrom(numpy_helper.from_array(np.round(table_VD / scale_V1).astype(np.int8), name))
        model.graph.initializer.append(numpy_helper.from_array(scale_V1, f"{name}_row_scale"))
        for node in nodes:
            ids, out, place = node.input[1], node.output[0], list(model.graph.node).index(node)
            make = onnx.helper.make_node
            model.graph.node.remove(node)
            for i, each in enumerate([
                make("Gather", [name, ids], [f"{out}_row_int8"]),
                make("Cast", [f"{out}_row_int8"], [f"{out}_row_float"], to=onnx.TensorProto.FLOAT),
                make("Gather", [f"{name}_row_scale", ids], [f"{out}_row_scale"]),
                make("Mul", [f"{out}_row_float", f"{out}_row_scale"], [out]),
            ]):  # fmt: skip
                model.graph.node.insert(place + i, each)
    onnx.save(model, to)


def float_weights(file: Path) -> list[str]:
    """What a file still computes with learned matrices in float, tables of embeddings aside: 'Einsum 7, 384 x 64'.

    The quantiser of int8 takes MatMul and Gemm, that of int4 MatMul; other operators stay as they are.
    """
    import onnx

    graph = onnx.load(file).graph
    matrices = {
        each.name: " x ".join(map(str, each.dims))
        for each in graph.initializer
        if each.data_type == onnx.TensorProto.FLOAT and len(each.dims) == 2 and np.prod(each.dims) >= SMALL_MATRIX
    }
    return [
        f"{node.op_type} {node.name}, {matrices[name]}"
        for node in graph.node
        for name in node.input
        if name in matrices and not is_lookup(node) and node.op_type != "MatMulNBits"  # which reads scales
    ]


def is_lookup(node: Any) -> bool:
    """Whether a node reads rows of a table by their numbers."""
    axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
    return node.op_type == "Gather" and axis == 0
