"""The ONNX file of a student: the numbers of torch, one operator per attention, int8 that is compared or refused."""

import importlib.util
import json
import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from modes import wrong_modes
from small_tasks import write
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
)

from spaces.errors import SpecError, StillhouseError
from spaces.records import runtimes
from spaces.records.deploy import DeploySpec
from spaces.records.runtimes import FILE_RUNTIMES, maps_in_float
from trainables.export import artefact, graphs
from trainables.export.artefact import (
    as_deployed,
    embed_by_file,
    need_calibration,
    parity_rows,
    write_artefact,
    write_file,
)
from trainables.export.card import artefact_text
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.export.graphs import attentions, export_onnx, verify_onnx
from trainables.export.inside import of_openvino
from trainables.export.quantising import LARGE_TABLE, static_int8
from trainables.models.embedding import Embedder, embed, embed_tokens, embedder_of, set_embedder
from trainables.tasks.protocols.features import encoded_features
from trainables.tasks.protocols.linear import encoder_digest
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import Corpus
from trainables.text.ragged import ragged

onnx, onnxruntime = (pytest.importorskip(name) for name in ("onnx", "onnxruntime"))
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.xdist_group("onnx")  # the first export of a process loads the exporter

WORDS = 600
COMMON = {"vocab_size": WORDS, "max_position_embeddings": 40, "pad_token_id": 0}
LAYERS = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
SHARED_HEADS = {"num_key_value_heads": 1, "head_dim": 16, "use_cache": False}


@pytest.fixture(scope="module")
def tokenizer():
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {f"w{i}": i for i in range(4, WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    train, held_out = (rng.integers(4, WORDS, (count, 24)).astype(np.uint16) for count in (40, 30))
    return Corpus(train, held_out, WORDS, None, (0, 2, 3), "corpus")


@pytest.fixture
def umask():
    """One that lets no other user read; what is written follows it."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


@pytest.mark.parametrize(
    "build, fused",
    [
        (lambda: DistilBertForMaskedLM(DistilBertConfig(**COMMON, n_layers=1, dim=16, n_heads=2, hidden_dim=32)), 1),
        (lambda: MPNetModel(MPNetConfig(**COMMON, **LAYERS | {"num_hidden_layers": 1}), add_pooling_layer=False), 0),
        (lambda: ModernBertModel(ModernBertConfig(**COMMON, **LAYERS, local_attention=4)), 2),
        (lambda: Qwen3Model(Qwen3Config(**COMMON, **LAYERS | {"num_hidden_layers": 1}, **SHARED_HEADS)), 1),
    ],
    ids=["distilbert, head", "mpnet", "modernbert, a window", "qwen3, a mask of what follows"],
)
def test_the_file_gives_the_numbers_of_torch(tmp_path, umask, build, fused):
    model = build().eval()
    before = model.config._attn_implementation
    file = export_onnx(model, tmp_path / "out" / "model.onnx")
    ids = torch.randint(5, 8, (5, 11))
    mask = torch.ones_like(ids)
    mask[2, 6:] = 0
    ids[2, 6:] = 0
    with torch.inference_mode():
        ours = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    feeds = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    theirs = torch.from_numpy(onnxruntime.InferenceSession(str(file)).run(["last_hidden_state"], feeds)[0])
    torch.testing.assert_close(theirs[mask.bool()], ours[mask.bool()], atol=1e-5, rtol=0)
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"] and b".py" not in file.read_bytes()
    gelu = getattr(model.config, "hidden_act", "gelu") != "silu"
    assert ("Gelu" in {node.op_type for node in onnx.load(file).graph.node}) == gelu
    assert attentions(file) == fused and model.config._attn_implementation == before
    assert not wrong_modes(tmp_path, umask) and list(tmp_path.glob("cache/graphs/*/graph.onnx"))


def refuse(*_):
    raise AssertionError("a shape that was traced before is not traced again")


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_tasks_read_the_file_as_they_read_the_student(student, corpus, graph, monkeypatch, needs, runtime):
    needs(runtime)
    monkeypatch.setattr(artefact, "export_onnx", lambda model, file: Path(shutil.copy(graph, file)))
    assert as_deployed(student, DeploySpec(runtime, "int8", quality_of="student"), corpus) is student
    texts = ragged([np.arange(4, 4 + length) for length in (9, 3, 17)], np.int32)
    layers, embeddings = encoded_features(student, texts, 0), embed_tokens(student, texts, 0)
    words = ragged([[0, 2], [1], [5]], np.int32)
    for precision, near in (("fp32", 1e-5), ("fp16", 2e-3), ("int8", 0.05), ("int8+3", 0.05), ("int4-weights", 0.2)):
        file = as_deployed(student, DeploySpec(runtime, precision), corpus)
        found = encoded_features(file, texts, 0)
        assert found.shape == layers.shape == (3, 3, 32) and embedder_of(file) is embedder_of(student)
        for ours, theirs in ((layers, found), (embeddings, embed_tokens(file, texts, 0))):
            assert theirs.dtype == np.float32
            assert np.abs(ours - theirs).mean() < near * np.abs(ours).mean()
        assert (found != layers).any()
        of_words = encoded_features(file, texts, 0, words, layers=[1])
        assert np.abs(of_words - encoded_features(student, texts, 0, words, layers=[1])).mean() < near


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_a_file_is_scored_by_the_probe(tmp_path, student, tokenizer, corpus, graph, monkeypatch, needs, runtime):
    needs(runtime)
    monkeypatch.setattr(artefact, "export_onnx", lambda model, file: Path(shutil.copy(graph, file)))
    columns = {
        split: {"text": [f"w{10 + n % 2} w{n}" for n in numbers], "label": [n % 2 for n in numbers]}
        for split, numbers in (("train", range(20, 80)), ("dev", range(80, 120)))
    }
    source = write(tmp_path / "task", **columns)
    folder = prepare_task(TaskSpec("toy", str(source), "classification"), tokenizer, tmp_path / "prepared")
    encoders = [student, *(as_deployed(student, DeploySpec(runtime, each), corpus) for each in ("fp32", "int8"))]
    task = load_task(folder)
    own, floats, rounded = (score_task(each, task, EvaluationSpec(), ["dev"], 0)["dev"] for each in encoders)
    assert floats == own and own.score > 0.9 and abs(rounded.score - own.score) < 0.1
    assert len({encoder_digest(each) for each in encoders}) == 3
    again = as_deployed(student, DeploySpec(runtime, "int8"), corpus)
    assert encoder_digest(again) == encoder_digest(encoders[-1])  # the same file, whose fits are kept


def test_a_shape_is_traced_once(tmp_path, student, graph, cache, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(cache))
    monkeypatch.setattr(graphs, "write_onnx", refuse)
    torch.manual_seed(1)
    other = BertModel(student.config, add_pooling_layer=False).eval()  # its biases are all 0, its norms all 1
    set_embedder(other, embedder_of(student))
    verify_onnx(other, export_onnx(other, tmp_path / "other.onnx"))
    other.save_pretrained(tmp_path / "saved")
    loaded = BertModel.from_pretrained(tmp_path / "saved", add_pooling_layer=False).eval()
    set_embedder(loaded, embedder_of(student))
    for each in (other, loaded):  # whose configs name the class, the type of the weights, and the folder
        verify_onnx(each, export_onnx(each, tmp_path / "again.onnx"))
    assert {
        path.stat().st_size for path in cache.glob("graphs/*/graph.onnx")
    }.pop() < graph.stat().st_size / 2  # a graph without weights is small
    set_embedder(other, Embedder(24, ("mean",)))
    with pytest.raises(AssertionError, match="traced before"):
        export_onnx(other, tmp_path / "other.onnx")


def test_a_graph_that_holds_more_than_weights_is_traced_for_each(tmp_path, student, graph, monkeypatch):
    """Here the blank one is of another model altogether, which its numbers tell."""
    torch.manual_seed(2)
    other = BertModel(student.config, add_pooling_layer=False).eval()
    set_embedder(other, embedder_of(student))
    traced = []
    monkeypatch.setattr(graphs, "fill_graph", lambda model, file, *rest: shutil.copy(graph, file))
    monkeypatch.setattr(graphs, "write_onnx", lambda model, file: traced.append(shutil.copy(graph, file)))
    export_onnx(student, tmp_path / "same.onnx")
    assert not traced
    with pytest.raises(StillhouseError, match="gives other numbers than the model"):
        export_onnx(other, tmp_path / "other.onnx")
    assert traced and not (tmp_path / "other.onnx").exists()


def test_a_corpus_too_short_for_scales_is_told_before_anything_starts(corpus):
    short = replace(corpus, train=corpus.train[:5])
    with pytest.raises(SpecError, match=r"'int8' needs 8 texts .* has 5 .*'int8-dynamic'"):
        need_calibration(DeploySpec("onnx", "int8"), short)
    with pytest.raises(SpecError, match="needs 8 texts"):
        need_calibration(DeploySpec("onnx", ("fp32", "int8+2")), short)
    need_calibration(DeploySpec("onnx", "int8-dynamic"), short)
    need_calibration(DeploySpec("onnx", "int8"), corpus)


def test_an_int8_student_is_compared_and_handed_over_whole(tmp_path, tokenizer, student, corpus, graph, monkeypatch):
    monkeypatch.setattr(artefact, "export_onnx", lambda model, file: Path(shutil.copy(graph, file)))
    said: list[str] = []
    deploy = DeploySpec("onnx", "int8")

    def add(folder: Path):
        return write_artefact(student, tokenizer, folder, deploy, corpus, said.append)

    folder = export_student(student, tokenizer, tmp_path / "out", StudentFacts(), add=add)
    facts = json.loads((folder / "recipe.json").read_text())["artefact"]
    assert facts["file"] == "onnx/model_quantized.onnx" and facts["fused_attentions"] == 2 and facts["texts"] == 30
    assert 0.99 < facts["lowest_cosine"] <= facts["cosine"] < 1 and facts["batch_difference"] < 1e-5
    assert "2 of 2 attentions fused" in said[0] and "the same alone and in a batch" in said[1]
    card = (folder / "README.md").read_text()
    assert "`onnx/model_quantized.onnx` (int8" in card and f"{facts['cosine']:.4f}" in card
    assert b".py" not in (folder / facts["file"]).read_bytes()  # source files that operators come from
    graph = onnx.load(folder / facts["file"]).graph
    large = [each for each in graph.initializer if np.prod(each.dims) >= LARGE_TABLE]
    assert large and not [each.name for each in large if each.data_type == onnx.TensorProto.FLOAT]
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    maps = [node for node in graph.node if node.op_type == "MatMul"]
    assert len(maps) == 12 and {made_by[name] for node in maps for name in node.input} == {"DequantizeLinear"}
    texts = ["w5 w6 w7", "w9 " * 100]
    theirs = runpy.run_path(str(folder / "onnx_example.py"))["embed"](texts)
    assert np.allclose((theirs * embed(student, tokenizer, texts)).sum(-1), 1, atol=0.01)
    session = onnxruntime.InferenceSession(str(folder / facts["file"]))
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_maps_in_float_are_told(tmp_path, tokenizer, student, corpus, graph, monkeypatch, needs, runtime):
    needs(runtime)
    monkeypatch.setattr(artefact, "export_onnx", lambda model, file: Path(shutil.copy(graph, file)))
    most = "rounding these {} moves embeddings most: "
    reasons = {"int8": None, "int8+2": most.format(2), "int8+12": most.format(12)}
    reasons["int8+40"] = "int8+40 leaves 40 maps so, and there are no more: "
    sizes, cosines = [], []
    for precision, reason in reasons.items():
        said: list[str] = []
        deploy = DeploySpec(runtime, precision)
        facts = write_artefact(student, tokenizer, tmp_path / precision, deploy, corpus, said.append)
        assert facts.file == DeploySpec(runtime, "int8").place and said[0].startswith(f"{facts.file}: {precision}, ")
        told = [line for line in said if line.startswith("in float32")]
        assert len(told) == (reason is not None)
        if told:
            assert told[0].startswith(f"in float32, since {reason}MatMul ")
            assert told[0].count(";") + 1 == min(maps_in_float(precision), 12)
            card = artefact_text(facts)
            assert f"({precision}, " in card and "None" not in card
            assert f"Of its maps {maps_in_float(precision)}, or all, are in float" in card
        sizes.append(facts.megabytes)
        cosines.append(facts.cosine)
    assert len(set(sizes)) == 3 and sizes[2] == pytest.approx(sizes[3])
    assert runtime != "onnx" or sizes == sorted(sizes)  # a description is larger than what so small maps gain
    assert cosines[0] < cosines[2] == pytest.approx(cosines[3], abs=1e-9)


def test_the_file_of_openvino_is_compared_and_handed_over_whole(
    tmp_path, tokenizer, student, corpus, graph, monkeypatch, needs
):
    needs("openvino")
    monkeypatch.setattr(artefact, "export_onnx", lambda model, file: Path(shutil.copy(graph, file)))
    rows = parity_rows(corpus)[:6]
    for precision in ("fp32", "int8"):
        said: list[str] = []
        deploy = DeploySpec("openvino", precision, 0.1)

        def add(folder: Path, deploy=deploy, said=said):
            return write_artefact(student, tokenizer, folder, deploy, corpus, said.append)

        folder = export_student(student, tokenizer, tmp_path / precision, StudentFacts(), add=add)
        facts = json.loads((folder / "recipe.json").read_text())["artefact"]
        file = folder / "openvino/openvino_model.xml"
        assert facts["file"] == "openvino/openvino_model.xml" and facts["runtime"] == "openvino"
        assert 0.9 < facts["lowest_cosine"] <= facts["cosine"] < 1 + 1e-6 and facts["batch_difference"] < (
            0.05 if precision == "int8" else 1e-5
        )
        assert sorted(path.name for path in file.parent.iterdir()) == ["openvino_model.bin", "openvino_model.xml"]
        assert facts["megabytes"] == pytest.approx(sum(each.stat().st_size for each in file.parent.iterdir()) / 1e6)
        assert "fused" not in said[0] and not [line for line in said if line.startswith("in float32")], said
        card = (folder / "README.md").read_text()
        assert "## OpenVINO" in card and f"`{facts['file']}` ({precision}" in card and "opset" not in card
        texts = ["w5 w6 w7", "w9 " * 100]
        theirs = runpy.run_path(str(folder / "openvino_example.py"))["embed"](texts)
        assert np.allclose((theirs * embed(student, tokenizer, texts)).sum(-1), 1, atol=0.1)
        again = write_file(student, tmp_path / "again/openvino_model.xml", deploy, corpus)
        assert again.read_bytes() == file.read_bytes()  # whatever else this process has read
        same = write_file(student, tmp_path / "same.onnx", DeploySpec("onnx", precision), corpus)
        ours, theirs = embed_by_file(file, rows, 0, 4, "openvino"), embed_by_file(same, rows, 0, 4)
        assert np.allclose((ours * theirs).sum(-1), 1, atol=1e-5 if precision == "fp32" else 2e-3)
        assert bool(of_openvino(file).in_float) == (precision == "fp32")
    floats, rounded = ((tmp_path / each / "openvino/openvino_model.bin").stat().st_size for each in ("fp32", "int8"))
    assert rounded < floats / 2  # the description beside it has 0.2 MB


def test_importing_openvino_tells_nobody(needs):
    """openvino_telemetry, which pip installs along, would send an event when openvino is imported."""
    needs("openvino")
    code = (
        "import sys\nfrom trainables.models.sessions import load_openvino\nassert load_openvino().Core\n"
        "print(sorted(name for name in sys.modules if 'openvino_telemetry' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("precision, name", [("fp16", "model_fp16.onnx"), ("int4-weights", "model_q4.onnx")])
def test_other_precisions_are_handed_over_too(
    tmp_path, tokenizer, student, corpus, graph, monkeypatch, precision, name
):
    monkeypatch.setattr(artefact, "export_onnx", lambda model, file: Path(shutil.copy(graph, file)))
    said: list[str] = []
    facts = write_artefact(student, tokenizer, tmp_path, DeploySpec("onnx", precision, 0.1), corpus, said.append)
    assert (facts.file, facts.precision, facts.fused_attentions) == (f"onnx/{name}", precision, 2)
    assert 0.9 < facts.lowest_cosine < 1 and facts.megabytes < graph.stat().st_size / 1.6e6
    assert len(said) == 2  # nothing stays in float, and nothing is said of VNNI
    _, embedding = onnxruntime.InferenceSession(str(tmp_path / facts.file)).get_outputs()
    assert (embedding.name, embedding.type) == ("sentence_embedding", "tensor(float)")


def test_a_file_too_far_from_the_student_is_refused(tmp_path, tokenizer, student, corpus, graph, monkeypatch):
    monkeypatch.setattr(artefact, "export_onnx", lambda model, file: Path(shutil.copy(graph, file)))
    with pytest.raises(StillhouseError, match=r"is .* below 1, more than --tolerance 1e-07.*would keep it"):
        write_artefact(
            student, tokenizer, tmp_path, DeploySpec("onnx", "int8-dynamic", 1e-7), corpus, lambda line: None
        )
    with pytest.raises(StillhouseError, match=r"needs 8 texts .* the corpus has 3"):
        static_int8(graph, tmp_path / "model.onnx", [{}] * 3)


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, student):
    find = importlib.util.find_spec
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(StillhouseError, match=r"needs the package onnxscript: pip install 'stillhouse\[onnx\]'"):
        export_onnx(student, tmp_path / "model.onnx")
