"""How a student starts: which layers it copies, what a seed gives, and weights that are taken over."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from spaces.errors import TrialFailed
from spaces.space.starts import STARTS
from spaces.students.architecture import StudentArchitecture
from spaces.students.layer_mapping import MAPPINGS, uniform
from trainables.models import student as starts
from trainables.models.layer_removal import layers_left
from trainables.models.student import INITIALISATIONS, build_student, copied_layers, held_by, load_weights
from trainables.models.teacher import load_teacher

SAME = StudentArchitecture(4, 32, 4, 64)


def config_of(shape=SAME, initialisation="projected_layers", method="od"):
    return {"method": method, "initialisation": initialisation, **vars(shape)}


def test_every_start_that_a_space_knows_can_be_made():
    assert INITIALISATIONS.keys() == STARTS.keys()


def test_the_layers_of_a_start_are_evenly_spaced_or_the_first():
    for theirs in (1, 4, 6, 12):
        for ours in range(1, theirs + 1):
            for mapping in ("uniform", "first"):
                pairs = MAPPINGS[mapping](ours, theirs)
                assert copied_layers([layer for _, layer in pairs], "a" * ours, "a" * theirs) == pairs
    assert copied_layers((1, 1, 2, 2), "aaaa", "aa") == ((1, 1), (2, 1), (3, 2), (4, 2))


def test_what_a_start_holds(teacher, corpus):
    two = replace(SAME, num_layers=2)
    for start, layers in (("first_layers", (1, 2)), ("projected_layers", (2, 4)), ("random", ())):
        assert held_by(start, two, teacher, corpus) == layers
    assert held_by("pruned_layers", two, teacher, corpus) == layers_left(teacher, corpus, 2)


def test_layers_of_several_kinds_are_copied_from_their_kind():
    pattern = "abb" * 7 + "a"

    def spaced(ours, theirs):
        return copied_layers([layer for _, layer in uniform(len(ours), len(theirs))], ours, theirs)

    assert copied_layers((1, 2, 3, 4), pattern[:4], pattern) == ((1, 1), (2, 2), (3, 3), (4, 4))
    assert spaced(pattern[:4], pattern) == ((1, 7), (2, 11), (3, 17), (4, 22))
    assert spaced("abb", "abbbb") == ((1, 1), (2, 3), (3, 5))
    for theirs in range(1, 15):
        for ours in range(1, theirs + 1):
            pairs = spaced(pattern[:ours], pattern[:theirs])
            chosen = [j for _, j in pairs]
            assert [i for i, _ in pairs] == list(range(1, ours + 1)) and chosen == sorted(set(chosen))
            assert "".join(pattern[j - 1] for j in chosen) == pattern[:ours]


def test_a_projected_start_without_a_corpus_is_refused(teacher):
    with pytest.raises(ValueError, match="corpus"):
        build_student(config_of(replace(SAME, hidden_size=24), "projected", "hs"), teacher, 3)


def test_a_seed_is_a_student(teacher):
    config = config_of(replace(SAME, hidden_size=24), "random", "mha")
    first, again, other = (build_student(config, teacher, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_leaves_the_teacher_alone(teacher, corpus):
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    student = build_student(config_of(), teacher, 3, corpus)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())
    assert teacher.model.config.num_hidden_layers == 4


def test_a_decoder_of_its_own_is_copied_or_projected(write_teacher, tmp_path, corpus):
    """`tie_word_embeddings` false: the last map of the head is no longer the word embeddings."""
    folder = shutil.copytree(write_teacher("bert"), tmp_path / "untied")
    weights = load_file(folder / "model.safetensors")
    words = weights["bert.embeddings.word_embeddings.weight"]
    weights["cls.predictions.decoder.weight"] = words.flip(0).contiguous()
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    teacher = load_teacher(str(folder))
    assert torch.equal(teacher.model.get_output_embeddings().weight, words.flip(0))
    student = build_student(config_of(), teacher, 0, corpus)
    assert torch.equal(student.get_output_embeddings().weight, words.flip(0))
    narrow = build_student(config_of(replace(SAME, hidden_size=24)), teacher, 0, corpus)
    decoder, embeddings = narrow.get_output_embeddings().weight, narrow.get_input_embeddings().weight
    torch.testing.assert_close(decoder, embeddings.flip(0))


def test_weights_of_a_student_are_taken_over(teachers, corpus, tmp_path):
    teacher = teachers("bert")
    first = build_student(config_of(initialisation="random", method="hs"), teacher, 0, corpus)
    first.save_pretrained(tmp_path / "own")
    second = build_student(config_of(initialisation="random", method="mlm"), teacher, 1, corpus)
    load_weights(second, str(tmp_path / "own"))
    for name, tensor in first.base_model.state_dict().items():
        assert torch.equal(second.base_model.state_dict()[name], tensor), name
    wider = build_student(config_of(replace(SAME, hidden_size=16), "random", "hs"), teacher, 0, corpus)
    with pytest.raises(TrialFailed, match="do not fit the student"):
        load_weights(wider, str(tmp_path / "own"))


def test_only_layers_that_read_what_theirs_read_are_fitted(teacher, corpus, monkeypatch):
    fitted = []
    monkeypatch.setattr(starts, "fit_layer", lambda student, layer, *rest: fitted.append(layer))
    narrow = replace(SAME, num_layers=2, hidden_size=24)
    for start in ("first_layers", "projected_layers"):  # layers 1 and 2 of four, and 2 and 4
        build_student(config_of(narrow, start), teacher, 3, corpus)
    assert fitted == [1, 2]
    build_student(config_of(replace(SAME, num_layers=2, intermediate_size=48), "first_layers"), teacher, 3, corpus)
    assert fitted == [1, 2, 1, 2]  # as wide, with fewer units
