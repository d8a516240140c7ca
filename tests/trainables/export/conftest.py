"""A student whose graph is traced once for all tests that need its file: a trace takes ten seconds of a core."""

import pytest
import torch
from transformers import BertConfig, BertModel

from spaces.records.runtimes import what_lacks
from trainables.export.graphs import export_onnx
from trainables.models.embedding import Embedder, Normalize, set_embedder


@pytest.fixture(scope="session")
def student():
    """A BERT that pools its first token; one channel that a second feed-forward map reads is far larger than others."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=600, max_position_embeddings=40, pad_token_id=0, num_hidden_layers=2, hidden_size=32,
        num_attention_heads=2, intermediate_size=64,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        model.encoder.layer[0].intermediate.dense.weight[3] *= 80
    set_embedder(model, Embedder(24, ("cls",), steps=(Normalize(),)))
    return model


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where the trace of `graph` is kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def graph(student, tmp_path_factory, cache):
    """The file of the student."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_CACHE", str(cache))
        return export_onnx(student, tmp_path_factory.mktemp("graph") / "model.onnx")


@pytest.fixture
def needs():
    """Skips a test whose runtime is not installed, with what would install it."""

    def skip(runtime: str) -> None:
        if lines := what_lacks(runtime):
            pytest.skip(lines[0])

    return skip
