"""A teacher of one's own, made in a few seconds."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from spaces.errors import SpecError
from trainables.models.teacher import load_teacher
from trainables.training.pretrain import PretrainSpec, pretrain


@pytest.fixture
def spec(write_teacher, texts, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(texts(300)))
    return PretrainSpec(
        source=str(write_teacher("bert")), corpus=str(tmp_path / "text.txt"), vocabulary=160, shape="2x16",
        first_tokens=4_000, final_tokens=4_000, sequence_length=16, batch_size=8, first_learning_rate=3e-3,
        final_learning_rate=3e-3,
    )  # fmt: skip


def test_a_teacher_of_another_family_than_its_source_is_refused(spec, tmp_path):
    other = dataclasses.replace(spec, shape="2x16 modernbert")
    with pytest.raises(SpecError, match="of the source's family, bert"):
        pretrain(other, tmp_path / "work", tmp_path / "teacher", print)


def test_a_teacher_is_made_in_stages_and_an_interrupted_one_is_finished(spec, tmp_path):
    lines = []

    def interrupt(line):
        lines.append(line)
        if line.startswith("3-distilled"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(spec, tmp_path / "work", tmp_path / "teacher", interrupt)
    assert not (tmp_path / "teacher").exists()
    first = [line for line in lines if line.startswith("2-masked-lm: ") and "loss" in line]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in first]
    assert losses[-1] < losses[0]
    later = []
    accuracy = pretrain(spec, tmp_path / "work", tmp_path / "teacher", later.append)
    assert not any(line.startswith(("vocabulary", "2-masked-lm")) for line in later)
    assert 0 <= accuracy <= 1
    made = load_teacher(str(tmp_path / "teacher"))
    assert made.facts.has_lm_head
    assert (made.facts.architecture.name, made.facts.vocab_size) == ("2x16h2", 160)  # heads of the source's size
    assert json.loads((tmp_path / "teacher" / "recipe.json").read_text())["vocabulary"] == 160
    weights = load_file(tmp_path / "teacher" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
