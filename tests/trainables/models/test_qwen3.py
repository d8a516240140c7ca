"""What only Qwen3 has: tokens see those before them alone, heads are wider than layers, the last token is the text."""

import json
import shutil

import numpy as np
import pytest
import torch
from small_trials import COMMON, METHODS, run
from tiny_families import TINY
from transformers import Qwen3ForCausalLM

from spaces.errors import SpecError
from spaces.space.reading import read_space
from spaces.students.architecture import StudentArchitecture
from spaces.students.transfer import METHODS as EVERY
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.losses.loss import Batch
from trainables.losses.mha import relation_loss
from trainables.models.embedding import embed, embeddings
from trainables.models.encoder import hidden_states, parts
from trainables.models.signals import QKV
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.models.vocabulary import trim
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.packing import frame, unknown_share
from trainables.text.sources import CorpusSpec
from trainables.training.distillation import Distillation
from trainables.training.settings import TrainingSpec

POOLED = {"embed_distance": "cosine", "embed_projection": "kept", "embedding_size": 32, "student_pooling": "teacher"}
EMBED = COMMON | POOLED | {"method": "embed"}
BOTH = COMMON | POOLED | {"method": "embed + 0.5 embed_similarity", "similarity_temperature": 0.05}


@pytest.fixture
def folder(write_teacher, tmp_path):
    """As Qwen3-Embedding is published: pooled by the last token, brought to length 1."""
    folder = tmp_path / "teacher"
    shutil.copytree(write_teacher("qwen3"), folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    (folder / "modules.json").write_text(json.dumps([
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]))  # fmt: skip
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.fixture
def teacher(folder):
    return load_teacher(str(folder))


def corpus_of(teacher, lines, tmp_path, **options):
    (tmp_path / "train.txt").write_text("\n".join(lines))
    return open_corpus(prepare_corpus(CorpusSpec(str(tmp_path / "train.txt"), 16, **options), teacher.tokenizer))


@pytest.mark.parametrize("method", ["od", "mlm"])
def test_what_needs_a_head_is_refused_by_name(teacher, method):
    with pytest.raises(SpecError, match=f"'{method}' needs a masked-LM head, which no model of type qwen3"):
        read_space({"method": method, "shape": ["2x16"]}, teacher.facts, 16)


def test_a_text_is_its_last_valid_token_on_whichever_side_it_is_padded(teacher, texts):
    some = texts(3)
    ours = embed(teacher.model, teacher.tokenizer, some)
    rows = [teacher.tokenizer(text)["input_ids"] for text in some]
    longest = max(map(len, rows))
    left_BT = torch.tensor([[teacher.tokenizer.pad_token_id] * (longest - len(row)) + row for row in rows])
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    with torch.no_grad():
        left = embeddings(teacher.model, left_BT, mask_BT)
        alone = [hidden_states(teacher.model, torch.tensor([row]))[-1][0, -1] for row in rows]
    np.testing.assert_allclose(ours, left, atol=1e-5)
    np.testing.assert_allclose(ours, torch.nn.functional.normalize(torch.stack(alone), dim=-1), atol=1e-5)


@pytest.mark.parametrize("config", [EMBED, BOTH, *(METHODS[name] for name in ("hs", "mha", "mha_direct"))],
                         ids=lambda config: config["method"])  # fmt: skip
def test_every_method_trains_a_student_that_sees_no_later_token_and_loads_as_it_was(teacher, config, texts, tmp_path):
    """export_student compares what it wrote with the student in memory, sentence-transformers' embeddings as well."""
    single = config["method"].startswith("embed")
    corpus = corpus_of(teacher, texts(200), tmp_path, **({"texts": "single"} if single else {}))
    student, _, outcome = run(config | {"initialisation": "projected_layers"}, teacher, corpus, steps=15)
    assert outcome.loss_last < outcome.loss_first and not student.config.use_cache
    assert parts(student, 1).from_heads.in_features == 48 and student.config.head_dim == 24
    ids_BT = torch.randint(5, 300, (1, 12))
    other_BT = torch.cat([ids_BT[:, :8], ids_BT[:, 8:] + 1], dim=1)
    with torch.no_grad():
        first, second = (hidden_states(student, each)[-1] for each in (ids_BT, other_BT))
    torch.testing.assert_close(first[:, :8], second[:, :8])
    assert not torch.allclose(first[:, 8:], second[:, 8:])
    export_student(student, teacher.tokenizer, tmp_path / "student", StudentFacts())
    again = load_teacher(str(tmp_path / "student"))
    assert again.tokenizer("ba den")["input_ids"] == teacher.tokenizer("ba den")["input_ids"]
    some = texts(4)
    ours, theirs = (embed(model, teacher.tokenizer, some) for model in (student, again.model))
    np.testing.assert_array_equal(ours, theirs)


def slow_relations(student_qkv, teacher_qkv, heads):
    """Row by row, each over the tokens up to it."""
    total = 0.0
    for ours_BTD, theirs_BTD in zip(student_qkv, teacher_qkv, strict=True):
        ours, theirs = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (ours_BTD, theirs_BTD))
        terms = []
        for row in range(ours.shape[2]):
            p, q = (
                torch.log_softmax(x[:, :, : row + 1] @ x[:, :, row, :, None] / x.shape[-1] ** 0.5, 2)
                for x in (theirs, ours)
            )
            terms.append((p.exp() * (p - q)).sum((2, 3)).mean())
        total += torch.stack(terms).mean()
    return total


@pytest.mark.parametrize("family", [None, "bert"])
def test_relations_are_those_to_what_stands_before(teacher, family, texts, tmp_path):
    corpus = corpus_of(teacher, texts(200), tmp_path)
    config = METHODS["mha"] | {"family": family, "initialisation": "projected"}
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, TrainingSpec())
    width = 24 if family else 48
    ours = tuple(torch.randn(2, 12, width, requires_grad=True) for _ in range(3))
    theirs = tuple(torch.randn(2, 12, 64) for _ in range(3))
    ((loss, _),) = module.terms
    found = loss.value({(QKV, 2): ours}, {(QKV, 3): theirs}, {}, Batch())
    wanted = slow_relations(ours, theirs, 8)
    torch.testing.assert_close(found, wanted)
    for fast, slow in zip(*(torch.autograd.grad(each, ours) for each in (found, wanted)), strict=True):
        torch.testing.assert_close(fast, slow)
    assert not torch.allclose(found, relation_loss(ours, theirs, None, 8))


def test_relation_heads_divide_the_width_of_heads(teacher):
    rule = EVERY["mha"].axes[0].rules[0]
    student = StudentArchitecture(2, 24, 2, 48)
    assert rule.objection(64, student, teacher.facts) is None
    found = rule.objection(20, student, teacher.facts)
    assert "the teacher's width 64, got 20; nearest that divides both widths: 16" in found


@pytest.mark.parametrize(("shape", "problem"), [
    ((2, 24, 3, 48), "come in groups of 2"), ((1, 10, 5, 16), "come in groups of 2 that share keys and values, got 5"),
])  # fmt: skip
def test_heads_that_cannot_be_shared_are_refused_with_the_nearest(teacher, shape, problem):
    (text,) = teacher.facts.family.problems(StudentArchitecture(*shape))
    assert problem in text


def test_a_trimmed_teacher_gives_the_same_states(teacher, tmp_path):
    """The one special token ends texts, and is kept."""
    kept = ["ba den fi", "gort ba"]
    done = trim(teacher.model, teacher.tokenizer, kept, None, tmp_path / "small")
    assert done.pieces < done.pieces_before and done.share_kept == 1
    small = load_teacher(str(tmp_path / "small"))
    old, new = (torch.tensor([each.tokenizer(kept[0])["input_ids"]]) for each in (teacher, small))
    assert old.shape == new.shape and new[0, -1] == small.tokenizer.eos_token_id
    with torch.no_grad():
        theirs, ours = (hidden_states(each.model, ids) for each, ids in ((teacher, old), (small, new)))
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_weights_under_a_language_head_are_read_without_it(tmp_path):
    """What most checkpoints of decoders hold."""
    tokenizer = TINY["qwen3"].tokenizer()
    config = TINY["qwen3"].config(len(tokenizer), (2, 16, 2, 32))
    config.use_cache = True
    whole = Qwen3ForCausalLM(config).eval()
    whole.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    read = load_teacher(str(tmp_path))
    assert not read.facts.has_lm_head and not read.model.config.use_cache
    ids_BT = torch.tensor([tokenizer("ba den fi")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(read.model(ids_BT).last_hidden_state, whole.model(ids_BT).last_hidden_state)


def test_blocks_end_texts_as_the_tokenizer_does(teacher, texts, tmp_path):
    """It names no [CLS] and no [SEP], and begins a text with no token of its own."""
    end = teacher.tokenizer.eos_token_id
    assert frame(teacher.tokenizer) == ((), end)
    blocks = corpus_of(teacher, texts(200), tmp_path).train
    assert (blocks[:, -1] == end).all() and not (blocks[:, 0] == end).all() and (blocks[:, :-1] == end).any()
    assert unknown_share(blocks, teacher.tokenizer) == 0
    teacher.tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(SpecError, match="ends no text with a special token"):
        frame(teacher.tokenizer)


def test_a_teacher_that_may_end_in_several_tokens_has_students_of_another_family(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": [4, 5]}))
    others = load_teacher(str(folder)).facts.others
    assert dict(others.read.token_ids)["eos_token_id"] == 4 and isinstance(hash(others), int)
