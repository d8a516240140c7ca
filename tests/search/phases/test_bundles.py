"""A bundle goes to another machine, is measured there by its own program, and what it found comes back as a profile."""

import contextlib
import json
import runpy
from pathlib import Path

import pytest

from analysis import load
from search.phases import bundles
from search.phases.bundles import import_bundle, write_bundle
from spaces.errors import SpecError, StillhouseError
from spaces.records.latency import ProfileSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SETTING = ProfileSpec(threads=1, batch_size=2, sequence_length=16, runtime="onnx", precision="int8")


def mean_of_ids(file: Path) -> Path:
    """A graph with the inputs and the output of an encoder."""
    make, kinds = onnx.helper, onnx.TensorProto
    inputs = [make.make_tensor_value_info(name, kinds.INT64, ["B", "T"]) for name in ("input_ids", "attention_mask")]
    nodes = [
        make.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
        make.make_node("Cast", ["kept"], ["numbers"], to=kinds.FLOAT),
        make.make_node("ReduceMean", ["numbers"], ["sentence_embedding"], keepdims=1),
    ]
    output = make.make_tensor_value_info("sentence_embedding", kinds.FLOAT, None)
    graph = make.make_graph(nodes, "mean", inputs, [output])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=10), file)
    return file


@pytest.fixture
def measured(study, tmp_path, monkeypatch):
    """(study, what its bundle found); tracing students takes seconds each, another graph stands for them."""

    @contextlib.contextmanager
    def files_of(model, setting, precision):
        yield {precision: (None, mean_of_ids(tmp_path / "model.onnx"))}

    monkeypatch.setattr(bundles, "files_of", files_of)
    said: list[str] = []
    write_bundle(study, SETTING, [0], str(tmp_path / "bundle"), said.append)
    assert "2 files for onnxruntime" in said[0] and sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
        "2x32-model_quantized.onnx", "bundle.json", "measure.py", "teacher-model_quantized.onnx",
    ]  # fmt: skip
    script = (tmp_path / "bundle/measure.py").read_text().replace("ROUNDS, WARMUP = 40, 3", "ROUNDS, WARMUP = 3, 1")
    (tmp_path / "bundle/measure.py").write_text(script)
    runpy.run_path(str(tmp_path / "bundle/measure.py"), run_name="__main__")
    return study, tmp_path / "bundle/measured.json"


def test_a_bundle_is_measured_elsewhere_and_comes_back(measured, tmp_path):
    folder, file = measured
    said: list[str] = []
    name = import_bundle(folder, str(file), name=None, say=said.append)
    assert name.startswith("cpu-onnx-int8-t1-b2-l16-") and name in said[-1]
    rows = load(folder).profiles.set_index("trial")
    assert sorted(rows.index) == [-1, 0, 1] and (rows["latency_p50_ms"] > 0).all() and (rows["disk_mb"] > 0).all()
    assert set(rows["precision"]) == {"int8"} and set(rows["sequence_length"]) == {16}
    found = json.loads(file.read_text())
    assert set(rows["hardware"]) == {found["hardware"]}
    assert rows.loc[0, "latency_p50_ms"] == rows.loc[1, "latency_p50_ms"] == found["rows"][1]["latency_p50_ms"]
    assert load(folder).with_profile("cpu-onnx").finished["latency_p50_ms"].notna().sum() == 2

    for change, told in (
        ({"study": "another"}, "another study"),
        ({"rows": [{**found["rows"][0], "trials": [77]}]}, "trials that .* does not have: 77"),
        ({"rows": [{**found["rows"][0], "latency_p50_ms": -1}]}, "latencies must be above 0, got -1"),
        ({"setting": {**found["setting"], "threads": 0}}, "threads must be at least 1, got 0"),
        ({"format": 2}, "format must be 1, got 2"),
        ({"hardware": 3}, "hardware must be a text, got 3"),
    ):
        (tmp_path / "other.json").write_text(json.dumps({**found, **change}))
        with pytest.raises(StillhouseError, match=told):
            import_bundle(folder, str(tmp_path / "other.json"), name=None, say=said.append)
    with pytest.raises(StillhouseError, match=r"is not what measure.py of a bundle writes"):
        import_bundle(folder, str(tmp_path / "absent.json"), name=None, say=said.append)


def test_what_cannot_be_bundled_is_said(study, tmp_path):
    with pytest.raises(SpecError, match="add --runtime onnx"):
        write_bundle(study, ProfileSpec(), None, str(tmp_path / "bundle"), print)
    with pytest.raises(SpecError, match="is there already"):
        write_bundle(study, SETTING, None, study, print)
    with pytest.raises(StillhouseError, match="no finished trial 9"):
        write_bundle(study, SETTING, [9], str(tmp_path / "bundle"), print)
