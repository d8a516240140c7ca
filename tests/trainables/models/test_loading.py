"""Weights are loaded whole or refused in words: the checkpoints that people bring, and their kinds."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from spaces.errors import SpecError
from trainables.models.encoder import build_model
from trainables.models.loading import load_model, read_config
from trainables.models.teacher import load_teacher, read_facts

LAYER = {
    "bert": "bert.encoder.layer.1.",
    "distilbert": "distilbert.transformer.layer.1.",
    "modernbert": "model.layers.1.",
}


@pytest.fixture
def folder(write_teacher, tmp_path):
    """A copy of a BERT with a masked-LM head that a test may spoil."""
    return shutil.copytree(write_teacher("bert"), tmp_path / "teacher")


def rewrite(folder, change):
    """Write other weights: a function of those that are there."""
    weights = change(load_file(folder / "model.safetensors"))
    save_file({k: v.clone().contiguous() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def reconfigure(folder, **values):
    """Other values in config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def refusal(folder) -> str:
    with pytest.raises(SpecError) as caught:
        load_teacher(str(folder))
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "0.auto_model.", "model.encoder_q."])
@pytest.mark.parametrize("bare", [False, True], ids=["head", "bare"])
def test_weights_under_another_prefix_are_refused_with_it(write_teacher, tmp_path, prefix, bare):
    folder = shutil.copytree(write_teacher("bert", lm_head=not bare), tmp_path / "teacher")
    rewrite(folder, lambda weights: {prefix + name: value for name, value in weights.items()})
    text = refusal(folder)
    assert "69 of 69 weights are not in the file, the first is embeddings.word_embeddings.weight" in text
    assert f"keys in the file begin with {prefix!r}" in text


@pytest.mark.parametrize("family", LAYER)
def test_a_part_that_is_missing_too_much_or_of_another_shape_is_refused_by_name(write_teacher, tmp_path, family):
    first, layer = tmp_path / "first", LAYER[family]
    shutil.copytree(write_teacher(family), first)
    whole = load_file(first / "model.safetensors")
    name = sorted(key for key in whole if key.startswith(layer) and key.endswith("weight"))[0]
    rewrite(first, lambda weights: {key: value for key, value in weights.items() if not key.startswith(layer)})
    assert f"{sum(key.startswith(layer) for key in whole)} of" in refusal(first) and layer in refusal(first)
    rewrite(first, lambda weights: whole | {f"{layer}adapter.lora_A.weight": torch.zeros(2, 2)})
    assert "1 weights of the file have no place" in refusal(first) and "lora_A" in refusal(first)
    rewrite(first, lambda weights: whole | {name: torch.zeros(3, 2)})
    assert f"of another shape than config.json says, the first is {name}: (3, 2) in the file" in refusal(first)


def test_a_head_is_whole_or_refused(folder):
    rewrite(folder, lambda weights: {k: v for k, v in weights.items() if "transform.LayerNorm" not in k})
    assert "2 of" in refusal(folder) and "cls.predictions.transform.LayerNorm" in refusal(folder)


def test_what_may_be_meant_either_way_is_refused(folder):
    """Weights under two names each, an adapter beside them, and a part of the weights whose index has the others."""
    whole = load_file(folder / "model.safetensors")
    rewrite(
        folder, lambda weights: weights | {k.removeprefix("bert."): v for k, v in weights.items() if "layer.0" in k}
    )
    assert "16 weights are in the file twice, with 'bert.' before their names and without" in refusal(folder)
    rewrite(folder, lambda weights: {k: v for k, v in whole.items() if k.startswith("bert.encoder.layer.0")})
    assert "weights are not in the file" in refusal(folder) and "keys in the file begin" not in refusal(folder)
    rewrite(folder, lambda weights: whole)
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter_config.json lies beside the weights" in refusal(folder)
    (folder / "adapter_config.json").unlink()
    (folder / "config.json").unlink()
    assert refusal(folder).endswith("no config.json in that folder")


def test_what_the_encoder_does_not_need_may_be_there_or_not(folder, teacher):
    more = {
        "bert.pooler.dense.weight": torch.zeros(32, 32), "bert.embeddings.position_ids": torch.arange(40)[None],
        "cls.seq_relationship.weight": torch.zeros(2, 32), "classifier.bias": torch.zeros(3),
    }  # fmt: skip
    rewrite(folder, lambda weights: weights | more)
    for name, value in load_teacher(str(folder)).model.state_dict().items():
        assert torch.equal(value, teacher.model.state_dict()[name]), name


def test_two_loads_of_one_digest_are_equal(folder, teacher):
    torch.manual_seed(1)
    first = load_model(folder).state_dict()
    torch.manual_seed(2)
    second = load_model(folder).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_and_double_precision_come_out_in_float32(folder, dtype):
    rewrite(folder, lambda weights: {name: value.to(dtype) for name, value in weights.items()})
    reconfigure(folder, dtype=str(dtype).removeprefix("torch."))
    assert {value.dtype for value in load_model(folder).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("bad", "words"),
    [(float("nan"), "1 weights hold NaN or infinite"), (float("inf"), "1 weights hold NaN or infinite"),
     (None, "1 of 74 weights are stored as I8")],
)  # fmt: skip
def test_weights_that_are_no_usable_numbers_are_refused(folder, bad, words):
    name = "bert.encoder.layer.0.output.dense.weight"

    def spoil(weights):
        weights[name] = (
            weights[name].to(torch.int8) if bad is None else weights[name].index_fill(0, torch.tensor(3), bad)
        )
        return weights

    rewrite(folder, spoil)
    assert words in refusal(folder) and name in refusal(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("position_embedding_type", "relative_key_query"), ("position_embedding_type", "relative_key"),
     ("is_decoder", True), ("pruned_heads", {"0": [1]}), ("quantization_config", {"quant_method": "bitsandbytes"})],
)  # fmt: skip
def test_variants_that_would_be_read_as_something_else_are_refused_by_name(folder, key, value):
    reconfigure(folder, **{key: value})
    with pytest.raises(SpecError, match=key):
        read_facts(str(folder))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut, "is damaged or incomplete"),
        (lambda path: path.write_bytes(b""), "is damaged or incomplete, 0 bytes"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "is a pickle under another name"),
        (lambda path: path.rename(path.with_name("pytorch_model.bin")), "convert it once"),
        (lambda path: path.rename(path.with_name("adapter_model.safetensors")), "merge it into its base model"),
        (lambda path: path.rename(path.with_name("weights.safetensors")), "is not called model.safetensors"),
        (lambda path: path.rename(path.with_name("tf_model.h5")), "weights of TensorFlow"),
        (lambda path: path.rename(path.with_name("model_quantized.onnx")), "is a graph to run, not weights"),
        (lambda path: (path.parent / "onnx").mkdir() or path.rename(path.parent / "onnx/model.onnx"), "is a graph"),
    ],
)
def test_files_that_are_no_weights_are_refused_with_what_can_be_done(folder, spoil, words):
    spoil(folder / "model.safetensors")
    with pytest.raises(SpecError, match=words):
        read_facts(str(folder))


def test_parts_that_an_index_names_must_be_there(folder):
    model = load_model(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1 and torch.equal(
        load_model(folder).get_input_embeddings().weight, model.get_input_embeddings().weight
    )
    parts[1].unlink()
    assert (
        f"1 of {len(parts)} files of model.safetensors.index.json are not there, the first is {parts[1].name}"
        in refusal(folder)
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [("gpt2", "this is a decoder"),
     ("t5", "this is an encoder with a decoder"), ("bart", "an encoder with a decoder"),
     ("deberta", "an encoder, but"), ("distilbrt", "Did you mean 'distilbert'")],
)  # fmt: skip
def test_types_that_are_not_read_are_told_for_what_they_are(folder, kind, words):
    reconfigure(folder, model_type=kind)
    with pytest.raises(SpecError, match=words) as caught:
        read_config(folder)
    assert "Known: bert" in str(caught.value) and (kind == "distilbrt" or "Did you mean" not in str(caught.value))


def test_code_of_a_models_own_is_not_run(folder):
    reconfigure(folder, model_type="new", auto_map={"AutoModel": "own/repository--modeling.NewModel"})
    with pytest.raises(SpecError, match="code of its own, which is never run"):
        read_config(folder)


def test_a_model_in_a_folder_below_is_pointed_to(folder):
    (folder / "0_Transformer").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        path.rename(folder / "0_Transformer" / path.name)
    (folder / "modules.json").write_text("[]")
    assert "sentence-transformers model) is in '0_Transformer': give that folder" in refusal(folder)
    assert load_teacher(str(folder / "0_Transformer")).facts.has_lm_head


def test_roberta_counts_positions_from_the_row_after_its_padding_token(tmp_path):
    from tiny_families import TINY

    config = TINY["roberta"].config(400, (1, 8, 1, 8))
    config.pad_token_id, config.max_position_embeddings = 0, 41
    build_model(config, lm_head=False).save_pretrained(tmp_path)
    assert read_facts(str(tmp_path)).max_positions == 40
