"""What is found out about a teacher, what is refused and in which words."""

import hashlib
import json
import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

import trainables.cache
import trainables.models.teacher
from spaces.errors import SpecError
from trainables.models.encoder import hidden_states
from trainables.models.teacher import load_teacher, read_facts, resolve_model_folder


@pytest.fixture
def folder(write_teacher, tmp_path):
    """A copy of a teacher that a test may spoil."""
    return shutil.copytree(write_teacher("bert"), tmp_path / "teacher")


def test_facts_without_a_head(write_teacher):
    assert not read_facts(str(write_teacher("bert", lm_head=False))).has_lm_head


def test_no_longer_sequence_than_the_longest_usable(teachers):
    for family in ("bert", "roberta", "distilbert"):
        teacher = teachers(family)
        with pytest.raises((IndexError, RuntimeError)):
            hidden_states(teacher.model, torch.full((1, teacher.facts.max_positions + 1), 9), None, 1)


def test_facts_change_with_the_weights(folder):
    before = read_facts(str(folder)).digest
    assert read_facts(str(folder)).digest == before
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert read_facts(str(folder)).digest != before


def test_a_folder_is_looked_up_once_and_unchanged_weights_are_hashed_once(folder, monkeypatch):
    monkeypatch.setattr(trainables.cache, "LARGE_BYTES", 0)
    monkeypatch.setattr(trainables.cache, "SETTLED_S", 0.0)
    looked_up, hashed = [], []
    resolve, file_digest = resolve_model_folder, hashlib.file_digest
    monkeypatch.setattr(trainables.models.teacher, "resolve_model_folder", lambda p: looked_up.append(p) or resolve(p))
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: hashed.append(args) or file_digest(*args))
    facts = read_facts(str(folder))
    assert len(hashed) == 2  # the weights and the config
    assert load_teacher(str(folder)).facts == facts == load_teacher(str(folder)).facts
    assert len(looked_up) == 3 and len(hashed) == 2


def test_a_teacher_is_frozen_and_in_evaluation_mode(teacher):
    assert not teacher.model.training
    assert all(not p.requires_grad and p.dtype == torch.float32 for p in teacher.model.parameters())


def refusal(path) -> str:
    with pytest.raises(SpecError) as caught:
        load_teacher(str(path))
    return str(caught.value)


def test_pickles_are_refused_by_name(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin is a pickle" in refusal(folder)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "no *.safetensors" in refusal(folder)


def test_a_folder_without_config(folder):
    (folder / "config.json").write_text("{")
    assert "config.json" in refusal(folder)


def test_an_unsupported_family_is_refused_with_the_nearest(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "robert"}))
    text = refusal(folder)
    assert "'robert'" in text
    assert "Did you mean 'roberta'?" in text


def test_a_folder_without_tokenizer_is_refused(folder):
    for path in folder.glob("*token*"):
        path.unlink()
    assert "no tokenizer" in refusal(folder)


def test_a_tokenizer_of_another_model_is_refused(folder, teacher):
    other = type(teacher.tokenizer).from_pretrained(folder)
    other.add_tokens(["<extra>"])
    other.save_pretrained(folder)
    assert f"{teacher.facts.vocab_size + 1} tokens in the tokenizer" in refusal(folder)
    raw = json.loads((folder / "tokenizer.json").read_text())
    raw["added_tokens"] = [each for each in raw["added_tokens"] if each["content"] != "<extra>"]
    last = list(raw["model"]["vocab"])[-1]
    raw["model"]["vocab"][last] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    assert f"token {last!r} has number 5000 in the tokenizer" in refusal(folder)


@pytest.mark.parametrize("path", ["./nowhere", "~/no/where", "/no/where", "a/b/c", "package:nopackage/x",
                                  "package:no.package/x", "package:json/nowhere"])  # fmt: skip
def test_a_missing_teacher_is_refused_without_asking_the_hub(path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    assert path in refusal(path)


def test_a_hub_id_that_cannot_be_had(monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    assert "owner/model" in refusal("owner/model")


def test_a_hub_id_takes_no_pickles(monkeypatch, folder):
    asked = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda path, **kw: asked.update(kw) or str(folder))
    assert resolve_model_folder("owner/model") == folder
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])


def test_a_package_path(monkeypatch, folder):
    (folder.parent / "mypackage").mkdir()
    (folder.parent / "mypackage" / "__init__.py").touch()
    shutil.copytree(folder, folder.parent / "mypackage" / "model")
    monkeypatch.syspath_prepend(folder.parent)
    assert read_facts("package:mypackage/model").family.name == "bert"
