"""Export: the folder loads with plain transformers, carries its card, and is whole or absent."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaModel,
)

from spaces.errors import StillhouseError
from spaces.records.latency import LatencySpec
from trainables.export.card import card_text, recipe_text
from trainables.export.facts import ScoreFacts, SeedFacts, StudentFacts
from trainables.export.folders import export_student
from trainables.export.markdown import plain

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "text", "student"]
VOCABULARY = {token: i for i, token in enumerate(TOKENS)}
COMMON = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 40, "pad_token_id": 0}
LAYERS = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
DISTIL = {"n_layers": 1, "dim": 16, "n_heads": 2, "hidden_dim": 32}
STUDENTS = {
    "bert": lambda: BertModel(BertConfig(**COMMON, **LAYERS), add_pooling_layer=False),
    "bert, head": lambda: BertForMaskedLM(BertConfig(**COMMON, **LAYERS)),
    "roberta": lambda: RobertaModel(RobertaConfig(**COMMON, **LAYERS), add_pooling_layer=False),
    "roberta, head": lambda: RobertaForMaskedLM(RobertaConfig(**COMMON, **LAYERS)),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(**COMMON, **DISTIL)),
    "distilbert, head": lambda: DistilBertForMaskedLM(DistilBertConfig(**COMMON, **DISTIL)),
}
FACTS = StudentFacts(
    name="mha-2x16",
    teacher="the teacher",
    teacher_hub_id="someone/teacher",
    corpus="docs",
    method="mha",
    seed=3,
    train_tokens=1_000_000,
    quality=0.7512,
    front="Third of five on the front.",
    config={"method": "mha", "learning_rate": 1e-3},
    scores={
        "sst2": ScoreFacts(0.79, "accuracy", "test", protocol="probe", teacher=0.8, layer=2),
        "trec": ScoreFacts(0.8, "accuracy", "test", protocol="probe", teacher=0.9, layer=1),
    },
    costs={"parameters": 12345, "latency_p50_ms": 1.25},
    hardware="A CPU, 2 cores",
    latency=LatencySpec(device="cpu", threads=1),
)


@pytest.fixture(scope="module")
def tokenizer():
    backend = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **names)


@pytest.mark.parametrize("name", STUDENTS)
def test_the_folder_loads_and_gives_the_same_numbers(tmp_path, tokenizer, name):
    torch.manual_seed(1)
    student = STUDENTS[name]().train()
    folder = export_student(student, tokenizer, tmp_path / "out", FACTS)
    assert student.training
    student.eval()
    batch = AutoTokenizer.from_pretrained(folder)(["a text", "a student a text"], padding=True, return_tensors="pt")
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        ours = student.base_model(**inputs).last_hidden_state
        theirs = AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
        torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)
        if "head" in name:
            reloaded = AutoModelForMaskedLM.from_pretrained(folder).eval()
            torch.testing.assert_close(reloaded(**inputs).logits, student(**inputs).logits, atol=1e-6, rtol=0)
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "recipe.json"} <= {
        path.name for path in folder.iterdir()
    }
    header = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert header["pipeline_tag"] == ("fill-mask" if "head" in name else "feature-extraction")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_the_card_says_what_was_measured_and_where(tmp_path, tokenizer):
    folder = export_student(STUDENTS["bert"](), tokenizer, tmp_path / "out", FACTS)
    text = (folder / "README.md").read_text()
    row = "| sst2 | test | probe | accuracy | 0.79 | 0.8 | 2 |"
    for part in ("recovers 75 % of", row, "sst2: 2, trec: 1", "1,000,000"):
        assert part in text
    for part in ("Third of five on the front.", "12,345", "A CPU, 2 cores; device cpu, threads 1", "base_model"):
        assert part in text
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["scores"] == {task: asdict(row) for task, row in FACTS.scores.items()}
    assert recipe["config"] == FACTS.config and recipe["parameters"] == 12345 and "costs" not in recipe


def test_no_path_of_this_machine_is_written(tmp_path, tokenizer):
    """Not even that of the folder the student was itself loaded from."""
    first = export_student(STUDENTS["bert"](), tokenizer, tmp_path / "first", StudentFacts())
    again = AutoModel.from_pretrained(first, add_pooling_layer=False)
    second = export_student(again, AutoTokenizer.from_pretrained(first), tmp_path / "second", StudentFacts())
    for folder in (first, second):
        for file in (path for path in folder.rglob("*") if path.is_file()):
            assert str(tmp_path).encode() not in file.read_bytes(), file.name


def test_the_usage_of_the_card_runs(tmp_path, tokenizer, monkeypatch):
    for weights in (True, False):
        folder = export_student(
            STUDENTS["bert, head"](), tokenizer, tmp_path / str(weights), StudentFacts(), weights=weights
        )
        code = (folder / "README.md").read_text().split("```python")[1].split("```")[0]
        monkeypatch.chdir(folder)
        scope: dict = {}
        exec(code, scope)
        assert scope["output"].logits.shape[-1] == len(VOCABULARY)


def test_an_export_without_weights(tmp_path, tokenizer):
    folder = export_student(STUDENTS["bert"](), tokenizer, tmp_path / "out", FACTS, weights=False)
    assert not (folder / "model.safetensors").exists()
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 16
    assert "no weights" in (folder / "README.md").read_text()


HOSTILE = 'x\n---\nlicense: evil\n# Title <script>alert(1)</script> | `a` [b](javascript:c) "q" \u2028: {'


def test_the_hub_understands_the_card():
    scores = {
        "sst2": ScoreFacts(0.91, "accuracy", "test", protocol="probe"),
        "two words": ScoreFacts(0.4, "spearman"),
        "unscored": ScoreFacts(float("nan"), "f1"),
    }
    data = ModelCard(card_text(StudentFacts("small", teacher_hub_id="owner/teacher", scores=scores))).data
    assert data.base_model == "owner/teacher" and data.library_name == "transformers"
    found = [
        (r.dataset_name, r.dataset_type, r.dataset_split, r.metric_type, r.metric_value) for r in data.eval_results
    ]
    assert found == [
        ("sst2", "sst2", "test", "accuracy", 0.91), ("two words", "two-words", "dev", "spearman", 0.4),
    ]  # fmt: skip
    assert data.eval_results[0].metric_name == "accuracy, probe" and data.model_name == "small"
    again = ModelCardData(**{**data.to_dict(), "model-index": data.to_dict()["model-index"]})
    assert again.to_dict() == data.to_dict()


def test_the_card_says_what_is_known_over_all_seeds_and_which_shares_say_little():
    score = ScoreFacts(0.571, "accuracy", examples=200, recovered=1.16, teacher=0.56, floor=0.49)
    facts = StudentFacts(quality=1.007, seed=0, scores={"tickets": score}, language=("de", "en"), license="mit",
                         teacher_hub_id="owner/teacher")  # fmt: skip
    alone = card_text(replace(facts, confirmed=SeedFacts(1, 1.007, None, None, False)))
    assert "It recovers 101 % of" in alone and "what another would give is not known" in alone
    text = card_text(replace(facts, confirmed=SeedFacts(3, 0.74, -0.1, 1.57, True)))
    assert "Its configuration recovers 74 % (95 % interval -10 to 157 %)" in text and "the mean of 3 seeds" in text
    assert "seed 0, with 101 %" in text and "tickets \\*" in text and "1.4 standard errors" in text
    assert "116 % (-" in text and "| 200 |" in text
    assert "| weight |" not in text and "leave it out" not in text and "On the test splits" not in text
    test = {task: replace(score, split="test", score=s, recovered=r, teacher=0.9, weight=w)
            for task, s, r, w in (("a", 0.695, 0.5, 3.0), ("b", 0.9, 1.0, 1.0))}  # fmt: skip
    assert "On the test splits these weights recover 62 % (95 % interval " in card_text(replace(facts, scores=test))
    cut = replace(facts, train_tokens=0, method="untrained")
    assert "not trained." in card_text(cut) and "not trained: tr" in card_text(replace(cut, method="hs"))
    assert "It recovers 101 % (95 % interval " in card_text(facts)  # by a trial itself, which knows its examples
    weighed = card_text(replace(facts, scores={"tickets": replace(score, score=0.5, weight=2.0)}))
    assert "a weighted mean over tasks" in weighed and "| weight |" in weighed
    data = ModelCard(text).data
    assert (data.base_model, data.license, data.language) == ("owner/teacher", "mit", ["de", "en"])


def test_texts_cannot_break_out_of_the_card():
    keys = ("name", "teacher", "teacher_hub_id", "corpus", "method", "front", "hardware")
    facts = StudentFacts(
        **dict.fromkeys(keys, HOSTILE), language=(HOSTILE,), scores={HOSTILE: ScoreFacts(0.5, HOSTILE)},
        config={"method": HOSTILE},
    )  # fmt: skip
    text = card_text(facts)
    lines = text.split("\n")
    assert lines[0] == "---"
    end = lines.index("---", 1)
    header = yaml.safe_load("\n".join(lines[1:end]))
    assert [header["base_model"]] == header["language"] == [HOSTILE]
    assert "license" not in header
    assert "---" not in lines[end + 1 :]
    assert "<script" not in "\n".join(lines[end:])
    for line in lines[end:]:
        assert not line.startswith("license")
    assert plain("a|b\nc") == "a\\|b c"
    assert json.loads(recipe_text(facts))["name"] == HOSTILE


def test_numbers_that_are_not_finite_are_told():
    facts = StudentFacts(
        quality=float("nan"), training={"all": [float("inf"), 1.0]}, costs={"latency_p50_ms": math.nan}
    )
    told = json.loads(recipe_text(facts))
    assert told["quality"] is None and told["training"] == {"all": [None, 1.0]} and told["latency_p50_ms"] is None
    assert "| median latency of one forward pass (ms) | not finite |" in card_text(facts)


def test_a_student_that_loads_differently_is_not_published(tmp_path, tokenizer, monkeypatch):
    student = STUDENTS["bert"]()
    kept = export_student(student, tokenizer, tmp_path / "out", StudentFacts("kept"))
    save = type(student).save_pretrained

    def spoiled(self, folder, **options):
        with torch.no_grad():
            self.encoder.layer[0].output.dense.weight.mul_(2.0)
        save(self, folder, **options)
        with torch.no_grad():
            self.encoder.layer[0].output.dense.weight.mul_(0.25)

    monkeypatch.setattr(type(student), "save_pretrained", spoiled)
    with pytest.raises(StillhouseError, match="gives other numbers when loaded again"):
        export_student(student, tokenizer, tmp_path / "out", StudentFacts("spoiled"))
    assert json.loads((kept / "recipe.json").read_text())["name"] == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_an_export_replaces_an_export_and_nothing_else(tmp_path, tokenizer):
    student = STUDENTS["bert"]()
    export_student(student, tokenizer, tmp_path / "out", StudentFacts("one"))
    export_student(student, tokenizer, tmp_path / "out", StudentFacts("two"))
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["name"] == "two"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(StillhouseError, match="not an exported student"):
        export_student(student, tokenizer, tmp_path / "mine", StudentFacts())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]
