"""int8 of a graph made by hand: two kinds of maps, a table that a map reads as it is, and what stays in float."""

import numpy as np
import pytest

from spaces.errors import StillhouseError
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


@pytest.mark.parametrize("precision", QUANTISERS)
def test_what_stays_in_float_is_named(graph, tmp_path, precision):
    QUANTISERS[precision](graph, tmp_path / "int8.onnx", FEEDS)
    assert float_weights(graph) == ["MatMul first, 64 x 64", "Gemm second, 64 x 48", "Einsum third, 48 x 32"]
    assert float_weights(tmp_path / "int8.onnx") == ["Einsum third, 48 x 32"]
    before, after = run(graph), run(tmp_path / "int8.onnx")
    assert 0 < np.square(after - before).mean() < 1e-3 * np.square(before).mean()
    assert (tmp_path / "int8.onnx").stat().st_size < graph.stat().st_size / 2.5


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
