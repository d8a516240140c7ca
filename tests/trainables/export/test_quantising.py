"""Precisions of a graph made by hand: two kinds of maps, a table that a map reads as it is, and what stays in float."""

import subprocess
import sys

import numpy as np
import pytest

from spaces.errors import StillhouseError
from trainables.export.half_precision import meeting, too_large
from trainables.export.quantising import FEWEST_TEXTS, QUANTISERS, float_weights, static_int8

onnx, onnxruntime = (pytest.importorskip(name) for name in ("onnx", "onnxruntime"))

SIZES = {"table": (400, 64), "map": (64, 64), "head": (64, 48), "last": (48, 32)}
FEEDS = [{"ids": np.arange(40)}] * FEWEST_TEXTS


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """table -> MatMul -> Gemm -> Einsum."""
    rng, make = np.random.default_rng(0), onnx.helper
    weights = [
        onnx.numpy_helper.from_array(rng.normal(size=size).astype(np.float32), name) for name, size in SIZES.items()
    ]
    nodes = [
        make.make_node("Gather", ["table", "ids"], ["x"]),
        make.make_node("MatMul", ["x", "map"], ["y"], name="first"),
        make.make_node("Gemm", ["y", "head"], ["z"], name="second"),
        make.make_node("Einsum", ["z", "last"], ["out"], name="third", equation="ij,jk->ik"),
    ]
    ids = make.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n"])
    out = make.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 32])
    model = make.make_model(
        make.make_graph(nodes, "maps", [ids], [out], weights), opset_imports=[make.make_opsetid("", 20)], ir_version=10
    )
    file = tmp_path_factory.mktemp("graph") / "float.onnx"
    onnx.save(model, file)
    return file


def run(file):
    return onnxruntime.InferenceSession(str(file)).run(None, FEEDS[0])[0]


IN_FLOAT = ["MatMul first, 64 x 64", "Gemm second, 64 x 48", "Einsum third, 48 x 32"]
EXPECTED = {
    "fp16": ([], 1e-6, 1.9),
    "int8": (IN_FLOAT[2:], 1e-3, 2.5),
    "int8-dynamic": (IN_FLOAT[2:], 1e-3, 2.5),
    "int4-weights": (IN_FLOAT[1:], 2e-2, 2.5),
}
"""By precision: what stays in float, the share of the square that is lost at most, and how many times smaller it is."""


@pytest.mark.parametrize("precision", QUANTISERS)
def test_what_stays_in_float_is_named(graph, tmp_path, precision):
    left, loss, smaller = EXPECTED[precision]
    QUANTISERS[precision](graph, tmp_path / "small.onnx", FEEDS)
    assert float_weights(graph) == IN_FLOAT and float_weights(tmp_path / "small.onnx") == left
    before, after = run(graph), run(tmp_path / "small.onnx")
    assert before.dtype == after.dtype and 0 < np.square(after - before).mean() < loss * np.square(before).mean()
    assert (tmp_path / "small.onnx").stat().st_size < graph.stat().st_size / smaller


def test_the_quantiser_of_four_bits_leaves_the_log_as_it_was(graph, tmp_path):
    """Its module is imported in a process of its own: it gives the root logger a handler that tells of every node."""
    code = (
        "import logging, sys; from pathlib import Path; from trainables.export.quantising import int4_weights;"
        "int4_weights(Path(sys.argv[1]), Path(sys.argv[2]), []); assert not logging.getLogger().handlers;"
        "assert logging.getLogger().level == logging.WARNING"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(graph), str(tmp_path / "small.onnx")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "quantize" not in done.stderr


def test_what_is_large_for_float16_stays_in_float32(graph, tmp_path):
    """The map's output is beyond 65504 on text; a mask near minus infinity is not a large value."""
    model, make = onnx.load(graph), onnx.helper
    for each in model.graph.initializer:
        if each.name == "map":
            each.CopyFrom(onnx.numpy_helper.from_array(4e4 * onnx.numpy_helper.to_array(each), "map"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(1, -3e38, np.float32), "mask"))
    model.graph.node.append(make.make_node("Max", ["x", "mask"], ["masked"], name="masking"))
    model.graph.output.append(make.make_tensor_value_info("masked", onnx.TensorProto.FLOAT, ["n", 64]))
    onnx.save(model, tmp_path / "large.onnx")
    found = too_large(model, FEEDS)
    assert found == {"map", "y", "z", "out"} and set(meeting(model, found)) == {"first", "second", "third"}
    QUANTISERS["fp16"](tmp_path / "large.onnx", tmp_path / "half.onnx", FEEDS)
    assert float_weights(tmp_path / "half.onnx") == IN_FLOAT
    before, after = run(tmp_path / "large.onnx"), run(tmp_path / "half.onnx")
    assert np.isfinite(after).all() and np.abs(before).max() > 65504
    assert np.square(after - before).mean() < 1e-6 * np.square(before).mean()


def test_too_little_text_is_refused(graph, tmp_path):
    with pytest.raises(StillhouseError, match="needs 8 texts to find the range of the activations, the corpus has 7"):
        static_int8(graph, tmp_path / "int8.onnx", FEEDS[1:])


def test_what_is_no_map_reads_what_was_not_rounded(graph, tmp_path):
    """The quantiser itself puts rounded values before all readers of what a map reads."""
    model, make = onnx.load(graph), onnx.helper
    model.graph.node.append(make.make_node("Add", ["x", "x"], ["twice"], name="past"))
    model.graph.output.append(make.make_tensor_value_info("twice", onnx.TensorProto.FLOAT, ["n", 64]))
    onnx.save(model, tmp_path / "past.onnx")
    static_int8(tmp_path / "past.onnx", tmp_path / "int8.onnx", FEEDS)
    nodes = {node.name: node for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    made_by = {name: node.op_type for node in nodes.values() for name in node.output}
    assert made_by[nodes["first"].input[0]] == "DequantizeLinear"
    assert set(nodes["past"].input) == {"x"} and made_by["x"] != "DequantizeLinear"


def test_no_sum_of_int8_saturates(graph, tmp_path):
    """The largest activations by the largest weights; with 8 bits two such products are beyond the 16 bits of AVX2."""
    model = onnx.load(graph)
    for each in model.graph.initializer:
        each.CopyFrom(onnx.numpy_helper.from_array(np.ones(SIZES[each.name], np.float32), each.name))
    onnx.save(model, tmp_path / "ones.onnx")
    for precision in ("int8", "int8-dynamic"):
        QUANTISERS[precision](tmp_path / "ones.onnx", tmp_path / "small.onnx", FEEDS)
        assert run(tmp_path / "small.onnx") == pytest.approx(run(tmp_path / "ones.onnx"), rel=1e-5)
