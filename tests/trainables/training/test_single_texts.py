"""Single texts: rows of natural length, read with the right mask, by every method that reads tokens or embeddings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_trials import COMMON, EXACT, fill

from spaces.errors import SpecError
from trainables.export.facts import StudentFacts
from trainables.export.folders import export_student
from trainables.models.embedding import Dense, embed, embedder_of, set_embedder
from trainables.models.encoder import hidden_states
from trainables.models.signals import states_of
from trainables.models.student import build_student
from trainables.models.teacher import load_teacher
from trainables.tasks.scores import Scores
from trainables.text.corpus import batch_indices, blocks_visited, open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.checkpoint import CheckpointFile
from trainables.training.distillation import Distillation
from trainables.training.earlier import put_back
from trainables.training.loop import distil
from trainables.training.settings import TrainingRun
from trainables.training.targets import Needs, TargetPlan

LONGEST = 16
METHODS = {
    "hs": {"method": "hs", "mapping": "1-2 2-4"},
    "mha": {"method": "mha", "relation_heads": 8, "teacher_layer": 3},
    "embed": {"method": "embed", "embed_distance": "cosine", "embed_projection": "kept", "embedding_size": 32},
    "cut": {"method": "embed", "embed_distance": "cosine", "embed_projection": "kept", "embedding_size": 8},
    "embed_similarity": {"method": "embed_similarity", "similarity_temperature": 0.1},
    "cls": {"method": "embed + embed_similarity", "embed_distance": "cosine", "embed_projection": "kept",
            "embedding_size": 32, "similarity_temperature": 0.1, "student_pooling": "cls"},
    "sum": {"method": "0.5 hs + embed", "mapping": "last", "embed_distance": "squared", "embed_projection": "dropped",
            "embedding_size": 32},
}  # fmt: skip
METHODS = {name: COMMON | {"student_pooling": "teacher"} | method for name, method in METHODS.items()}


@pytest.fixture
def single(teacher, tmp_path, texts):
    """A prepared corpus of single sentences, and what was said of it."""
    (tmp_path / "text.txt").write_text(
        "\n".join(f"{a}. {b}! x." for a, b in zip(texts(150), texts(300)[150:], strict=True))
    )
    said = []
    spec = CorpusSpec(source=str(tmp_path / "text.txt"), sequence_length=LONGEST, texts="sentences")
    return prepare_corpus(spec, teacher.tokenizer, said.append), said


def test_each_sentence_is_a_row_of_its_own(single, teacher, texts):
    folder, said = single
    corpus = open_corpus(folder)
    wanted = {f"{text}{end}" for text, end in zip(texts(300), ["."] * 150 + ["!"] * 150, strict=True)}
    ids = {tuple(teacher.tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"]) for text in wanted}
    rows = [tuple(row[:length].tolist()) for row, length in zip(corpus.train, corpus.lengths["train"], strict=True)]
    assert set(rows) <= ids and len(rows) > 250
    assert corpus.train_tokens == sum(map(len, rows))
    assert "are cut there" in said[-1] and ", 0 of fewer" not in said[-1]  # of "x." nothing is left
    ids_BT, mask_BT = corpus.read("train", np.array([3, 5]))
    assert [tuple(row[mask.astype(bool)].tolist()) for row, mask in zip(ids_BT, mask_BT, strict=True)] == [
        rows[3],
        rows[5],
    ]
    assert mask_BT.shape[1] == mask_BT.sum(1).max()


@pytest.mark.parametrize("name", ["hs", "embed", "embed_similarity", "sum"])
@torch.no_grad()
def test_the_loss_of_a_batch_is_that_of_its_texts_one_by_one(name, single, teacher):
    """The formulas slowly, without any padding."""
    corpus, config = open_corpus(single[0]), METHODS[name]
    student = build_student(config, teacher, 0, corpus)
    module = Distillation(student, teacher, corpus, config, EXACT)
    rows = np.arange(6)
    reading = module.read(corpus, "train", rows, np.zeros_like(rows), EXACT, None)
    found = module(teacher.model, reading).item()
    errors, ours, theirs = {1: [], 2: []}, [], []
    pairs = {1: 2, 2: 4} if name == "hs" else {2: 4}
    for row in rows:
        ids = torch.from_numpy(corpus.train[row][: corpus.lengths["train"][row]].astype("int64"))[None]
        low, high = hidden_states(student, ids), hidden_states(teacher.model, ids)
        ours.append(low[-1][0].mean(0))
        theirs.append(high[-1][0].mean(0))
        for i, j in pairs.items():
            if "hs" in config["method"]:
                errors[i].append((low[i] @ module.projections[f"hidden_{i}_{j}"] - high[j])[0].square().mean(-1))
    of_states = sum(torch.cat(errors[i]).mean() for i in pairs) / len(pairs) if "hs" in config["method"] else 0.0
    if name == "hs":
        wanted = of_states
    elif name == "embed_similarity":
        logs = [torch.log_softmax(F.cosine_similarity(x[:, None], x[None], dim=-1) / 0.1, -1)
                for x in map(torch.stack, (ours, theirs))]  # fmt: skip
        wanted = F.kl_div(*logs, log_target=True, reduction="batchmean")
    else:
        projected = torch.stack(ours) @ module.projections["embedding"]
        cosines = F.cosine_similarity(projected, torch.stack(theirs), dim=-1)
        squared = (projected - torch.stack(theirs)).square().mean()
        wanted = (1 - cosines).mean() if name == "embed" else 0.5 * of_states + squared
    assert found == pytest.approx(float(wanted), rel=1e-4)


def course(config, teacher, corpus, **options):
    """(student, losses, outcome) of twelve steps."""
    rows, student = [], build_student(config, teacher, 0, corpus)
    tokens = int(12 * 8 * corpus.tokens_per_row)
    report = options.pop("report", None) or rows.append
    outcome = distil(student, teacher, corpus, TrainingRun(config, tokens, 0, EXACT), report, **options)
    return student, [row.loss for row in rows], outcome


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_from_the_cache_as_from_the_live_teacher(name, single, teacher, write_teacher, monkeypatch):
    monkeypatch.setattr("trainables.training.loop.DIVERGED_FACTOR", 100.0)  # which eight texts are met moves the loss
    corpus, config = open_corpus(single[0]), METHODS[name]
    _, live, outcome = course(config, teacher, corpus)
    asked = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, EXACT).teacher_signals
    plan = TargetPlan(
        teacher=str(write_teacher("bert")), teacher_digest="", corpus=str(single[0]), needs=Needs(states_of(asked)),
        blocks=tuple(blocks_visited(corpus, 12 * 8, 0).tolist()), held_out=len(corpus.held_out), views=1,
        mask_fraction=0.15, width=32, sequence_length=LONGEST, bf16=False,
    )  # fmt: skip
    _, cached, again = course(config, teacher, corpus, targets=fill(plan, teacher))
    assert (outcome.targets, again.targets) == ("live", "cache")
    assert cached == pytest.approx(live, rel=2e-3)
    assert again.held_out_loss == pytest.approx(outcome.held_out_loss, rel=2e-3)
    assert outcome.steps == 12 and outcome.train_tokens == pytest.approx(12 * 8 * corpus.tokens_per_row, abs=1)
    assert np.mean(live[-3:]) < np.mean(live[:3])
    if name.startswith("embed"):
        assert plan.bytes() == (len(plan.blocks) + plan.held_out) * 32 * 2  # a vector of float16 for each text


def test_a_kept_projection_is_scored_resumed_and_handed_over(single, teacher, tmp_path, texts):
    corpus, config = open_corpus(single[0]), METHODS["embed"]
    student, _, _ = course(config, teacher, corpus)
    checkpoint, seen = CheckpointFile(tmp_path / "checkpoint.safetensors"), []

    def stop(row):
        seen.append(row)
        if row.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        course(config, teacher, corpus, report=stop, checkpoint=checkpoint)
    resumed, _, _ = course(config, teacher, corpus, checkpoint=checkpoint)
    (kept, *_), (kept_again, *_) = (embedder_of(each).steps for each in (student, resumed))
    assert isinstance(kept, Dense) and kept.weight.shape == (32, 24)
    assert torch.equal(kept.weight, kept_again.weight)
    vectors = embed(student, teacher.tokenizer, texts(5))
    np.testing.assert_array_equal(vectors, embed(resumed, teacher.tokenizer, texts(5)))
    assert vectors.shape == (5, 32) == embed(teacher.model, teacher.tokenizer, texts(5)).shape
    folder = export_student(student, teacher.tokenizer, tmp_path / "out", StudentFacts())
    again = load_teacher(str(folder))
    np.testing.assert_allclose(embed(again.model, again.tokenizer, texts(5)), vectors, atol=1e-6)
    dropped, _, _ = course({**config, "embed_projection": "dropped"}, teacher, corpus)
    assert embed(dropped, teacher.tokenizer, texts(5)).shape == (5, 24)


def test_a_rung_that_is_put_back_embeds_as_it_did(single, teacher, tmp_path, texts):
    corpus, config, vectors = open_corpus(single[0]), METHODS["embed"], []
    student, checkpoint = build_student(config, teacher, 0, corpus), CheckpointFile(tmp_path / "checkpoint.safetensors")
    tokens = int(12 * 8 * corpus.tokens_per_row)
    run, first = TrainingRun(config, tokens, 0, EXACT, rungs=(tokens // 2,)), embedder_of(student)

    def score(model):
        vectors.append(embed(model, teacher.tokenizer, texts(5)))
        return Scores(0.5, {})

    distil(student, teacher, corpus, run, lambda row: None, score=score, checkpoint=checkpoint, keeps_above=0.4)
    after = embed(student, teacher.tokenizer, texts(5))
    put_back(student, first, teacher, corpus, run, checkpoint)
    again = embed(student, teacher.tokenizer, texts(5))
    np.testing.assert_array_equal(again, vectors[0])
    assert again.shape == (5, 32) and not np.array_equal(again, after)  # through the projection of that time


def test_a_student_learns_is_scored_and_handed_over_by_a_pooling_of_its_own(single, teacher, tmp_path, texts):
    corpus, config = open_corpus(single[0]), METHODS["cls"]
    student, _, _ = course(config, teacher, corpus)
    assert embedder_of(student).pooling == ("cls",) and embedder_of(teacher.model).pooling == ("mean",)
    vectors = embed(student, teacher.tokenizer, texts(5))
    ids = [teacher.tokenizer(text, return_tensors="pt")["input_ids"] for text in texts(5)]
    first = torch.cat([hidden_states(student, each)[-1][:, 0] for each in ids]) @ embedder_of(student).dense[0].weight.T
    np.testing.assert_allclose(vectors, first.detach().numpy(), atol=1e-5)
    folder = export_student(student, teacher.tokenizer, tmp_path / "out", StudentFacts())
    assert json.loads((folder / "1_Pooling/config.json").read_text())["pooling_mode_cls_token"]
    again = load_teacher(str(folder))
    np.testing.assert_allclose(embed(again.model, again.tokenizer, texts(5)), vectors, atol=1e-6)


def test_a_shorter_embedding_is_handed_over_with_all_that_it_may_be_cut_to(single, teacher, tmp_path, texts):
    corpus = open_corpus(single[0])
    student, losses, _ = course(METHODS["cut"], teacher, corpus)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    folder = export_student(student, teacher.tokenizer, tmp_path / "out", StudentFacts())
    assert json.loads((folder / "config_sentence_transformers.json").read_text())["truncate_dim"] == 8
    again = load_teacher(str(folder))
    short = embed(again.model, again.tokenizer, texts(5))
    assert short.shape == (5, 8)
    set_embedder(again.model, replace(embedder_of(again.model), dims=None))
    np.testing.assert_allclose(embed(again.model, again.tokenizer, texts(5))[:, :8], short, atol=1e-6)


def test_what_an_earlier_stage_has_made_is_handed_over_too(single, teacher, texts):
    corpus, method = open_corpus(single[0]), "embed then embed then 0.5 embed_similarity"
    config = METHODS["cut"] | METHODS["cls"] | {"method": method, "embedding_size": 8}
    student, _, _ = course(config, teacher, corpus)
    (kept,) = embedder_of(student).dense
    assert kept.weight.shape == (32, 24) and embedder_of(student).pooling == ("cls",)
    assert embed(student, teacher.tokenizer, texts(5)).shape == (5, 8)


def test_a_shorter_embedding_of_a_copy_is_the_beginning_of_the_teachers(single, teacher, texts):
    corpus, config = open_corpus(single[0]), METHODS["cut"] | {"num_layers": 4, "hidden_size": 32, "num_heads": 4}
    config |= {"initialisation": "projected_layers", "intermediate_size": 64}
    module = Distillation(build_student(config, teacher, 0, corpus), teacher, corpus, config, EXACT)
    module.hand_over()
    theirs, ours = (embed(model, teacher.tokenizer, texts(5)) for model in (teacher.model, module.student))
    np.testing.assert_allclose(ours, theirs[:, :8], atol=1e-6)
    module.take_back()
    assert embed(module.student, teacher.tokenizer, texts(5)).shape == (5, 32)


def test_batches_have_little_padding_and_are_a_function_of_seed_and_step(single, monkeypatch):
    monkeypatch.setattr("trainables.text.corpus.WINDOW", 64)
    corpus = replace(open_corpus(single[0]))
    lengths = corpus.lengths["train"]
    steps = len(corpus.train) // 8
    batches = [batch_indices(corpus, 8, step, 3)[0] for step in range(steps)]
    padding = sum(int(lengths[rows].max()) * 8 - int(lengths[rows].sum()) for rows in batches)
    mixed = np.random.default_rng(0).permutation(len(lengths))[: steps * 8].reshape(-1, 8)
    assert padding < 0.5 * sum(int(lengths[rows].max()) * 8 - int(lengths[rows].sum()) for rows in mixed)
    assert len(np.unique(np.concatenate(batches[: steps // 8 * 8]))) == steps // 8 * 64
    assert (batch_indices(corpus, 8, 2, 3)[0] == batches[2]).all() and (
        batch_indices(corpus, 8, 2, 4)[0] != batches[2]
    ).any()
    for rows in (8, 40, 64, 120):
        assert set(np.concatenate(batches[: rows // 8])) <= set(blocks_visited(corpus, rows, 3))


def test_queries_and_passages_stand_after_their_prompts(teacher, tmp_path, texts):
    (tmp_path / "passages.txt").write_text("\n".join(f"{a}. {b}." for a, b in zip(texts(40), texts(40), strict=True)))
    (tmp_path / "queries.txt").write_text("\n".join(texts(60)[40:]))
    spec = CorpusSpec(str(tmp_path / "passages.txt"), LONGEST, texts="sentences", queries=str(tmp_path / "queries.txt"))
    said: list[str] = []
    folder = prepare_corpus(spec, teacher.tokenizer, said.append, "of ", "to find ")
    corpus = open_corpus(folder)
    rows = [teacher.tokenizer.decode(row[:n]) for row, n in zip(corpus.train, corpus.lengths["train"], strict=True)]
    starts = [teacher.tokenizer.decode(teacher.tokenizer(text)["input_ids"][:-1]) for text in ("of", "to find")]
    of_passages, of_queries = (sum(row.startswith(start) for row in rows) for start in starts)
    assert of_passages > 3 * of_queries > 30 and of_passages + of_queries == len(rows)
    assert any("queries after 'to find '" in line for line in said)
    assert prepare_corpus(spec, teacher.tokenizer, prompt="of ", query_prompt="to find ") == folder
    assert prepare_corpus(spec, teacher.tokenizer, prompt="of ", query_prompt="to see ") != folder
    with pytest.raises(SpecError, match=r"queries '.*nosuch.txt': no such file"):
        prepare_corpus(replace(spec, queries=str(tmp_path / "nosuch.txt")), teacher.tokenizer)


def test_a_corpus_without_a_text_is_refused(tmp_path, teacher):
    (tmp_path / "text.txt").write_text("a.\nb.\n")
    with pytest.raises(SpecError, match="the train part has no text of five tokens or more"):
        prepare_corpus(CorpusSpec(source=str(tmp_path / "text.txt"), texts="single"), teacher.tokenizer)
