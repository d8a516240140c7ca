"""A bundle goes to another machine, is measured there by its own program, and what it found comes back as a profile."""

import contextlib
import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_tasks import WORDS, make_bert, make_tokenizer, write

from analysis import load
from search.phases import bundles
from search.phases.bundles import import_bundle, write_bundle
from search.phases.profiling import profile_study
from spaces.errors import SpecError, StillhouseError
from spaces.records.latency import ProfileSpec
from trainables.export.inputs import TURNS
from trainables.tasks.spec import EvaluationSpec, TaskSpec

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
    def files_of(model, setting, runtime, precision):
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
    for which in ("p50", "p95"):
        ends = [rows[f"latency_{which}_{end}_ms"] for end in ("low", "high")]
        assert (ends[0] <= rows[f"latency_{which}_ms"]).all() and (rows[f"latency_{which}_ms"] <= ends[1]).all()
    kept = [{name: row[name] for name in row if name not in bundles.ENDS} for row in found["rows"]]
    (tmp_path / "earlier.json").write_text(json.dumps({**found, "rows": kept}))
    import_bundle(folder, str(tmp_path / "earlier.json"), name="earlier", say=said.append)
    assert load(folder).profiles.set_index("profile").loc["earlier", "latency_p50_low_ms"].isna().all()

    for change, told in (
        ({"study": "another"}, "another study"),
        ({"rows": [{**found["rows"][0], "trials": [77]}]}, "trials that .* does not have: 77"),
        ({"rows": [{**found["rows"][0], "latency_p50_ms": -1}]}, "latencies must be above 0, got -1"),
        ({"rows": [{**found["rows"][0], "latency_p95_high_ms": 0}]}, "latencies must be above 0"),
        ({"setting": {**found["setting"], "threads": 0}}, "threads must be at least 1, got 0"),
        ({"format": 2}, "format must be 1, got 2"),
        ({"hardware": 3}, "hardware must be a text, got 3"),
    ):
        (tmp_path / "other.json").write_text(json.dumps({**found, **change}))
        with pytest.raises(StillhouseError, match=told):
            import_bundle(folder, str(tmp_path / "other.json"), name=None, say=said.append)
    with pytest.raises(StillhouseError, match=r"is not what measure.py of a bundle writes"):
        import_bundle(folder, str(tmp_path / "absent.json"), name=None, say=said.append)


def test_a_bundle_has_texts_as_long_as_those_of_the_tasks(study, tmp_path, monkeypatch):
    """Every file runs all batches equally often, each padded to its longest text."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    rng, labels = np.random.default_rng(0), [n % 2 for n in range(45)]
    texts = [[" ".join(rng.permutation(WORDS)[: 2 + n % 9]) for n in range(45)] for _ in range(2)]
    source = write(tmp_path / "task", **{
        split: {"text": each, "label": labels} for split, each in zip(("train", "dev"), texts, strict=True)
    })  # fmt: skip
    spec = SimpleNamespace(tasks=(TaskSpec("words", str(source), "classification"),), evaluation=EvaluationSpec())
    monkeypatch.setattr(bundles, "stored_data", lambda table: spec)
    teacher = SimpleNamespace(model=make_bert(), tokenizer=make_tokenizer(), reworded=False)
    monkeypatch.setattr(bundles, "load_teacher", lambda path: teacher)

    @contextlib.contextmanager
    def files_of(model, setting, runtime, precision):
        yield {precision: (None, mean_of_ids(tmp_path / "model.onnx"))}

    monkeypatch.setattr(bundles, "files_of", files_of)
    setting = replace(SETTING, lengths="tasks")
    assert setting.name == "cpu-onnx-int8-t1-b2-tasks"
    write_bundle(study, setting, [0], str(tmp_path / "bundle"), lambda line: None)
    batches = json.loads((tmp_path / "bundle/bundle.json").read_text())["batches"]
    assert len(batches) == TURNS and {len(each) for each in batches} == {2}
    assert {length for each in batches for length in each} == set(range(4, 13))  # two of them special
    script = (tmp_path / "bundle/measure.py").read_text().replace("ROUNDS, WARMUP = 40, 3", "ROUNDS, WARMUP = 3, 1")
    (tmp_path / "bundle/measure.py").write_text(script)
    runpy.run_path(str(tmp_path / "bundle/measure.py"), run_name="__main__")
    found = json.loads((tmp_path / "bundle/measured.json").read_text())
    assert all(row["runs"] % TURNS == 0 and row["runs"] >= 3 * TURNS for row in found["rows"])
    import_bundle(study, str(tmp_path / "bundle/measured.json"), name=None, say=lambda line: None)
    assert set(load(study).profiles["lengths"]) == {"tasks"}
    with pytest.raises(StillhouseError, match="add --bundle TO"):
        profile_study(study, setting, None, name=None, say=print)


def test_a_bundle_for_openvino_is_measured_by_openvino(study, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")

    @contextlib.contextmanager
    def files_of(model, setting, runtime, precision):
        target = tmp_path / "openvino_model.xml"
        openvino.save_model(openvino.convert_model(str(mean_of_ids(tmp_path / "model.onnx"))), str(target))
        yield {precision: (None, target)}

    monkeypatch.setattr(bundles, "files_of", files_of)
    said: list[str] = []
    write_bundle(study, replace(SETTING, runtime="openvino"), [0], str(tmp_path / "bundle"), said.append)
    assert "2 files for openvino" in said[0] and "pip install openvino numpy" in said[1]
    assert {path.suffix for path in (tmp_path / "bundle").iterdir()} == {".xml", ".bin", ".json", ".py"}
    script = (tmp_path / "bundle/measure.py").read_text().replace("ROUNDS, WARMUP = 40, 3", "ROUNDS, WARMUP = 3, 1")
    (tmp_path / "bundle/measure.py").write_text(script)
    runpy.run_path(str(tmp_path / "bundle/measure.py"), run_name="__main__")
    name = import_bundle(study, str(tmp_path / "bundle/measured.json"), name=None, say=said.append)
    rows = load(study).profiles
    assert name.startswith("cpu-openvino-int8-t1-b2-l16-") and set(rows["runtime"]) == {"openvino"}
    assert "openvino" in json.loads(rows["versions"].iloc[0]) and (rows["disk_mb"] > 0).all()


def test_what_cannot_be_bundled_is_said(study, tmp_path):
    with pytest.raises(SpecError, match="'torch' has none: add --runtime onnx or --runtime openvino"):
        write_bundle(study, ProfileSpec(runtime="torch"), None, str(tmp_path / "bundle"), print)
    with pytest.raises(SpecError, match="is there already"):
        write_bundle(study, SETTING, None, study, print)
    with pytest.raises(StillhouseError, match="no finished trial 9"):
        write_bundle(study, SETTING, [9], str(tmp_path / "bundle"), print)
