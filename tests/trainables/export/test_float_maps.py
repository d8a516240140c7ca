"""Which maps stay in float, against each map rounded alone by onnxruntime's own quantiser."""

from itertools import pairwise

import numpy as np
import pytest

from trainables.export.float_maps import most_moving, parts_of
from trainables.export.quantising import FLOAT_AFTER, ONLY_MAPS, QUANTISERS, float_weights, quiet, reader_of
from trainables.models.file_encoder import EMBEDDING

onnx, onnxruntime = (pytest.importorskip(name) for name in ("onnx", "onnxruntime"))

WIDTH = 48
GAINS = {"query": 1.0, "key": 4.0, "wide": 0.25, "narrow": 2.0, "last": 0.5}
"""By map, how large what it adds to the stream is: query and key read the same, the last is a Gemm with a bias."""
FEEDS = [{"ids": np.random.default_rng(i).integers(0, 400, (1, 12))} for i in range(20)]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A stream that maps read and add to; the embedding is its mean over a text."""
    rng, make, number = np.random.default_rng(0), onnx.helper, onnx.TensorProto
    weights = {"table": rng.normal(size=(400, WIDTH)), "bias": rng.normal(size=WIDTH), "flat": np.array([-1, WIDTH])}
    weights |= {name: gain * rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5 for name, gain in GAINS.items()}
    nodes = [
        make.make_node("Gather", ["table", "ids"], ["x"]),
        *(make.make_node("MatMul", ["x", name], [f"{name}_out"], name=name) for name in ("query", "key")),
        make.make_node("Tanh", ["query_out"], ["query_bent"]),
        make.make_node("Sum", ["x", "query_bent", "key_out"], ["y"]),
        make.make_node("MatMul", ["y", "wide"], ["wide_out"], name="wide"),
        make.make_node("Tanh", ["wide_out"], ["bent"]),
        make.make_node("MatMul", ["bent", "narrow"], ["narrow_out"], name="narrow"),
        make.make_node("Add", ["y", "narrow_out"], ["z"]),
        make.make_node("Reshape", ["z", "flat"], ["rows"]),
        make.make_node("Gemm", ["rows", "last", "bias"], ["last_out"], name="last"),
        make.make_node("Shape", ["z"], ["size"]),
        make.make_node("Reshape", ["last_out", "size"], ["last_back"]),
        make.make_node("Add", ["z", "last_back"], ["states"]),
        make.make_node("ReduceMean", ["states", "axis"], [EMBEDDING], keepdims=0),
    ]
    weights["axis"] = np.array([1])
    whole = {"flat", "axis"}
    initial = [
        onnx.numpy_helper.from_array(value if name in whole else value.astype(np.float32), name)
        for name, value in weights.items()
    ]
    ids = make.make_tensor_value_info("ids", number.INT64, [1, "n"])
    out = make.make_tensor_value_info(EMBEDDING, number.FLOAT, [1, WIDTH])
    model = make.make_model(
        make.make_graph(nodes, "maps", [ids], [out], initial), opset_imports=[make.make_opsetid("", 20)], ir_version=10
    )
    file = tmp_path_factory.mktemp("graph") / "float.onnx"
    onnx.save(model, file)
    return file


def run(content):
    session = onnxruntime.InferenceSession(content if isinstance(content, bytes) else str(content))
    found = np.concatenate([session.run([EMBEDDING], each)[0] for each in FEEDS]).astype(np.float64)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def moved(graph, other):
    return float(np.square(run(graph) - run(other)).sum(-1).mean())


def static(graph, to, only=None):
    """All maps as int8, or one."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with quiet():
        quantize_static(
            graph, to, reader_of(FEEDS), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax, extra_options=FLOAT_AFTER,
            nodes_to_quantize=only and [only], **ONLY_MAPS,
        )  # fmt: skip
    return onnx.load(to)


def alone(graph, to, name):
    """One map as int8; whatever is beside it reads what was not rounded."""
    model = static(graph, to, only=name)
    made_by = {out: node for node in model.graph.node for out in node.output}
    for node in model.graph.node:
        for place, each in enumerate(node.input):
            back = made_by.get(each)
            if node.name != name and back is not None and back.op_type == "DequantizeLinear":
                node.input[place] = made_by[back.input[0]].input[0]
    return model.SerializeToString()


def kept_by(file):
    return {line.split()[1].rstrip(",") for line in float_weights(file)}


def test_the_order_is_that_of_each_map_rounded_alone(graph, tmp_path):
    """The slow way: the quantiser runs once for each map, and what is not that map reads what it read."""
    by_itself = {name: moved(graph, alone(graph, tmp_path / "one.onnx", name)) for name in GAINS}
    slow = sorted(by_itself, key=lambda name: -by_itself[name])
    assert all(by_itself[one] > 1.2 * by_itself[after] for one, after in pairwise(slow)), by_itself
    whole, rounded = onnx.load(graph), static(graph, tmp_path / "all.onnx")
    found = most_moving(whole, rounded, parts_of(whole, rounded), FEEDS)
    assert [name.removesuffix("_out") for name in found] == slow != list(GAINS)
    for k in range(1, 1 + len(GAINS)):
        QUANTISERS["int8"](graph, tmp_path / "small.onnx", FEEDS, in_float=k)
        assert kept_by(tmp_path / "small.onnx") == set(slow[:k])


@pytest.mark.parametrize("precision, maps", [("int8", 5), ("int8-dynamic", 5), ("int4-weights", 4)])
def test_more_maps_in_float_are_nearer_and_larger(graph, tmp_path, precision, maps):
    """int4 takes no Gemm, which is in float anyway; beyond all maps, tables alone are rounded."""
    distances, sizes = [], []
    for k in range(maps + 2):
        file = tmp_path / f"{k}.onnx"
        QUANTISERS[precision](graph, file, FEEDS, in_float=k)
        assert len(float_weights(file)) == len(GAINS) - maps + min(k, maps)
        distances.append(moved(graph, file))
        sizes.append(file.stat().st_size)
    assert distances[0] > 2 * distances[2] > 0 and distances[-1] < distances[0] / 10
    assert sizes[:-1] == sorted(sizes[:-1]) and sizes[-1] == sizes[-2] and distances[-1] == distances[-2]
    QUANTISERS[precision](graph, tmp_path / "again.onnx", FEEDS, in_float=2)
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()


def test_a_map_in_float_reads_what_was_not_rounded(graph, tmp_path):
    """Query and key read the same, and one of them is rounded."""
    QUANTISERS["int8"](graph, tmp_path / "small.onnx", FEEDS, in_float=1)
    model = onnx.load(tmp_path / "small.onnx")
    nodes = {node.name: node for node in model.graph.node}
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    (kept,) = kept_by(tmp_path / "small.onnx")
    other = {"query": "key", "key": "query"}[kept]
    assert nodes[kept].input[0] == "x" and made_by[nodes[other].input[0]] == "DequantizeLinear"
    names = {name for node in model.graph.node for name in node.input} | {EMBEDDING}
    assert {each.name for each in model.graph.initializer} <= names  # weights that nothing reads are gone


def test_what_has_no_learned_matrix_is_no_map(graph, tmp_path):
    """A product of two activations is rounded with the others, and never counted as one of the maps."""
    model, make = onnx.load(graph), onnx.helper
    model.graph.node.insert(1, make.make_node("MatMul", ["x", "turned"], ["scores"], name="scores"))
    model.graph.node.insert(1, make.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]))
    model.graph.node.append(make.make_node("ReduceMax", ["scores"], ["largest"]))
    model.graph.output.append(make.make_tensor_value_info("largest", onnx.TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "scores.onnx")
    QUANTISERS["int8"](tmp_path / "scores.onnx", tmp_path / "small.onnx", FEEDS, in_float=99)
    small = onnx.load(tmp_path / "small.onnx")
    made_by = {name: node.op_type for node in small.graph.node for name in node.output}
    (scores,) = (node for node in small.graph.node if node.name == "scores")
    assert {made_by[name] for name in scores.input} == {"DequantizeLinear"}
    assert kept_by(tmp_path / "small.onnx") == set(GAINS)
